"""BFGS for many small problems in lockstep, with a line search that also serves functions with kinks."""

from collections.abc import Callable

import torch
from torch import Tensor

Look = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # points (m, d), problems (m,) to values (m,), slopes (m, d)


@torch.no_grad()
def minimise(
    look: Look, start: Tensor, evaluations: int, inverse: Tensor | None = None, tolerance: float = 1e-15
) -> tuple[Tensor, Tensor, Tensor]:
    """Minimise n functions of d variables each, from start (n, d): points (n, d), values (n,), evaluations spent (n,).

    Each problem has its own inverse Hessian, at first `inverse` (n, d, d) or else a multiple of I, and its own step,
    found by bisection until the weak Wolfe conditions hold: all that BFGS needs to converge on functions with kinks
    (Lewis & Overton 2013). A problem ends when its model predicts a decrease below `tolerance` of the value, or when
    its step is lost to rounding.
    """
    count, size = start.shape
    z, rows = start.clone(), torch.arange(count, device=start.device)
    value, slope = look(z, rows)
    eye = torch.eye(size).to(z)
    fresh, spent = torch.full_like(rows, inverse is None, dtype=torch.bool), torch.ones_like(rows)
    if inverse is None:
        inverse = eye / slope.norm(dim=1).clamp_min(1e-30)[:, None, None]  # the first step has length 1
    inverse = inverse.clone()
    direction = -_product(inverse, slope)
    step, low, high = torch.ones_like(value), torch.zeros_like(value), torch.full_like(value, torch.inf)
    for _ in range(evaluations - 1):
        fall = -(slope * direction).sum(1)
        lost = (high - low) * direction.norm(dim=1) < torch.finfo(z.dtype).eps * z.norm(dim=1)
        rows = ((fall > tolerance * value.abs()) & ~lost).nonzero().squeeze(1)
        if not len(rows):
            break
        trial = z[rows] + step[rows, None] * direction[rows]
        found, new_slope = look(trial, rows)
        spent[rows] += 1
        fell = found <= value[rows] - 1e-4 * step[rows] * fall[rows]
        bent = -(new_slope * direction[rows]).sum(1) <= 0.9 * fall[rows]
        high[rows] = torch.where(fell, high[rows], step[rows])
        low[rows] = torch.where(fell & ~bent, step[rows], low[rows])
        good = fell & bent
        bad = rows[~good]
        step[bad] = torch.where(high[bad].isinf(), 2 * low[bad], (low[bad] + high[bad]) / 2)

        rows, trial, found, new_slope = rows[good], trial[good], found[good], new_slope[good]
        move, turn = trial - z[rows], new_slope - slope[rows]
        z[rows], value[rows], slope[rows] = trial, found, new_slope
        bend = (move * turn).sum(1)  # positive, by the Wolfe conditions
        first = fresh[rows]
        inverse[rows[first]] = (bend / turn.square().sum(1))[first, None, None] * eye
        inverse[rows] = _update(inverse[rows], move, turn, bend)
        fresh[rows], step[rows], low[rows], high[rows] = False, 1.0, 0.0, torch.inf
        direction[rows] = -_product(inverse[rows], new_slope)
    return z, value, spent


def _product(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _update(inverse: Tensor, move: Tensor, turn: Tensor, bend: Tensor) -> Tensor:
    """BFGS's inverse Hessian after a move along which the gradient turned (Nocedal & Wright 2006, eq. 6.17)."""
    image = _product(inverse, turn)
    scale = (1 + (turn * image).sum(1) / bend) / bend
    cross = torch.einsum("ni,nj->nij", move, image / bend[:, None])
    return inverse - cross - cross.mT + torch.einsum("n,ni,nj->nij", scale, move, move)
