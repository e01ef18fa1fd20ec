"""Geodesics by descent: L-BFGS on many paths in lockstep, in coordinates in which a finer grid costs no more steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Density = Callable[[Tensor, Tensor], Tensor]  # paths (R, T + 1, d) and their numbers (R,), to ‖Ż‖² in a metric (R, T)
MEMORY = 10


@dataclass(frozen=True)
class Descent:
    """Where a descent ended: path (R, T + 1, d); energy, residual, evaluations (R,); trace (evaluations, R)."""

    path: Tensor
    energy: Tensor
    residual: Tensor
    evaluations: Tensor
    trace: Tensor


def sine_basis(segments: int) -> Tensor:
    """Columns φ_k/√(λ_k T) (T − 1, T − 1): the inner nodes in coordinates in which ∫‖Ż‖² is ‖y‖² plus a constant.

    φ_k is the discrete sine basis and λ_k = 2 − 2 cos(πk/T): the path Laplacian's eigenpairs.
    """
    k = torch.arange(1, segments, dtype=torch.float64)
    phi = math.sqrt(2 / segments) * torch.sin(math.pi * k[:, None] * k / segments)
    return phi / ((2 - 2 * torch.cos(math.pi * k / segments)) * segments).sqrt()


def descend(
    density: Density, start: Tensor, basis: Tensor | None = None, tolerance: float = 1e-7, evaluations: int = 300
) -> Descent:
    """L-BFGS on the energies mean(density) of all paths `start` (R, T + 1, d) in lockstep, their ends fixed.

    basis: (T − 1, K), by default `sine_basis`, of which the coordinates are coefficients: with it the number of
    evaluations hardly depends on T (the Sobolev gradient, Neuberger 1997). Each row has its own history and step.
    A row ends when the decrease that its model predicts is below `tolerance` of its energy.
    """
    count, segments, size = len(start), start.shape[1] - 1, start.shape[2]
    basis = (sine_basis(segments) if basis is None else basis).to(start)
    stiffness = torch.linalg.matrix_norm(F.pad(basis, (0, 0, 1, 1)).diff(dim=0), 2) ** 2 * segments

    @torch.enable_grad()  # whatever the caller's mode
    def look(y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        y = y.detach().requires_grad_()
        shift = F.pad(basis @ y.reshape(len(rows), -1, size), (0, 0, 1, 1))
        energy = density(start[rows] + shift, rows).mean(1)
        (slope,) = torch.autograd.grad(energy.sum(), y)
        return energy.detach(), slope

    def inverse_scale(path: Tensor, energy: Tensor) -> Tensor:
        kinetic = path.diff(dim=1).square().sum((1, 2)) * segments
        return (kinetic / (2 * energy)).nan_to_num(0.0, 0.0)  # 1/2c̄: in sine coordinates and for constant c, H⁻¹

    y = start.new_zeros(count, basis.shape[1] * size)
    energy, slope = look(y, torch.arange(count, device=start.device))
    scale, step = inverse_scale(start, energy) / stiffness, torch.ones_like(energy)
    moves, turns = (start.new_zeros(MEMORY, *y.shape) for _ in range(2))
    weights = start.new_zeros(MEMORY, count)  # 1/(move·turn), or 0 for an empty place
    direction = -scale[:, None] * slope
    trace, spent = [energy.clone()], torch.ones(count, dtype=torch.long, device=start.device)
    while len(trace) < evaluations:
        fall = -(slope * direction).sum(1)
        rows = ((fall > tolerance * energy) & (step > 1e-4)).nonzero().squeeze(1)
        if not len(rows):
            break
        trial = y[rows] + step[rows, None] * direction[rows]
        found, new_slope = look(trial, rows)
        spent[rows] += 1
        good = found <= energy[rows] - 1e-4 * step[rows] * fall[rows]  # Armijo
        bad, excess = rows[~good], (found - energy[rows] + step[rows] * fall[rows])[~good]
        vertex = step[bad] * fall[bad] / (2 * excess)  # of the parabola through what is known, as a share of the step
        step[bad] *= vertex.nan_to_num(0.1).clamp(0.1, 0.5)

        rows, trial, found, new_slope = rows[good], trial[good], found[good], new_slope[good]
        move, turn = trial - y[rows], new_slope - slope[rows]
        y[rows], energy[rows], slope[rows], step[rows] = trial, found, new_slope, 1.0
        bend = (move * turn).sum(1)
        kept = bend > 1e-10 * move.norm(dim=1) * turn.norm(dim=1)
        told, bend = rows[kept], bend[kept]
        for history, entry in ((moves, move[kept]), (turns, turn[kept]), (weights, 1 / bend)):
            history[:, told] = torch.cat([history[1:, told], entry.unsqueeze(0)])
        scale[told] = bend / turn[kept].square().sum(1)
        newton = _times_inverse_hessian(new_slope, moves[:, rows], turns[:, rows], weights[:, rows], scale[rows])
        direction[rows] = -newton
        trace.append(energy.clone())
    path = start + F.pad(basis @ y.reshape(count, -1, size), (0, 0, 1, 1))
    residual = slope.norm(dim=1) * (inverse_scale(path, energy) / (2 * energy)).sqrt().nan_to_num(0.0)
    return Descent(path, energy, residual, spent, torch.stack(trace))


def _times_inverse_hessian(q: Tensor, moves: Tensor, turns: Tensor, weights: Tensor, scale: Tensor) -> Tensor:
    """L-BFGS's two loops (Nocedal 1980) for rows q (R, n); histories (MEMORY, R, n), weights (MEMORY, R)."""
    shares = []
    for move, turn, weight in zip(moves.flip(0), turns.flip(0), weights.flip(0), strict=True):
        shares.append(weight * (move * q).sum(1))
        q = q - shares[-1][:, None] * turn
    q = scale[:, None] * q
    for move, turn, weight, share in zip(moves, turns, weights, reversed(shares), strict=True):
        q = q + (share - weight * (turn * q).sum(1))[:, None] * move
    return q
