"""Quasi-Newton minimisation of many problems at once (torch.optim.LBFGS treats a batch as a single problem)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]  # points (m, d) and the numbers (m,) of their problems to values (m,)


@dataclass(frozen=True)
class Minimum:
    x: Tensor  # (n, d): the end points of n problems in d variables
    value: Tensor  # (n,)
    gradient: Tensor  # (n, d)
    evaluations: Tensor  # (n,): the number of evaluations of the value and gradient of each problem
    trace: Tensor  # (evaluations, n): the values after each evaluation


class BFGS:
    """Dense inverse Hessians (n, d, d): as given, or initially I/‖gradient‖ and rescaled after the first step."""

    def __init__(self, inverse: Tensor | None = None):
        self.inverse, self.unscaled = inverse, None

    def direction(self, g: Tensor, rows: Tensor) -> Tensor:
        """The quasi-Newton step −H g of problems `rows` with gradients g (m, d)."""
        if self.inverse is None:
            self.inverse = torch.eye(g.shape[1]).to(g) / g.norm(dim=1).clamp_min(1e-30)[:, None, None]
            self.unscaled = torch.ones(len(g), dtype=torch.bool, device=g.device)
        return -(self.inverse[rows] @ g.unsqueeze(-1)).squeeze(-1)

    def update(self, s: Tensor, y: Tensor, rows: Tensor) -> None:
        """Update with steps s and gradient changes y, both (m, d) (Nocedal & Wright 2006, eqs. 6.17 and 6.20)."""
        sy = (s * y).sum(1)  # positive, by the Wolfe conditions
        if self.unscaled is not None:
            first = self.unscaled[rows]
            self.inverse[rows[first]] = (sy / y.square().sum(1))[first, None, None] * torch.eye(s.shape[1]).to(s)
            self.unscaled[rows] = False
        H = self.inverse[rows]
        Hy = (H @ y.unsqueeze(-1)).squeeze(-1)
        cross = torch.einsum("ni,nj->nij", s, Hy / sy[:, None])
        self.inverse[rows] = H - cross - cross.mT + torch.einsum("n,ni,nj->nij", (1 + (y * Hy).sum(1) / sy) / sy, s, s)


class LBFGS:
    """The last `memory` pairs (s, y) of each problem represent its inverse Hessian, which is initially scale (n,) I."""

    def __init__(self, scale: Tensor, size: int, memory: int = 10):
        self.scale = scale.clone()
        self.s, self.y = scale.new_zeros(2, memory, len(scale), size)
        self.weight = scale.new_zeros(memory, len(scale))  # 1/sᵀy, or 0 for an empty entry

    def direction(self, g: Tensor, rows: Tensor) -> Tensor:
        """The quasi-Newton step −H g by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        pairs, q, alphas = list(zip(self.s[:, rows], self.y[:, rows], self.weight[:, rows], strict=True)), g, []
        for s, y, weight in reversed(pairs):
            alphas.append(weight * (s * q).sum(1))
            q = q - alphas[-1][:, None] * y
        q = self.scale[rows, None] * q
        for (s, y, weight), alpha in zip(pairs, reversed(alphas), strict=True):
            q = q + (alpha - weight * (y * q).sum(1))[:, None] * s
        return -q

    def update(self, s: Tensor, y: Tensor, rows: Tensor) -> None:
        """Replace the oldest pairs by steps s and gradient changes y, both (m, d), where the curvature is positive."""
        sy = (s * y).sum(1)
        kept = sy > 1e-10 * s.norm(dim=1) * y.norm(dim=1)
        s, y, sy, rows = s[kept], y[kept], sy[kept], rows[kept]
        for history, entry in ((self.s, s), (self.y, y), (self.weight, 1 / sy)):
            history[:, rows] = torch.cat([history[1:, rows], entry.unsqueeze(0)])
        self.scale[rows] = sy / y.square().sum(1)


@torch.enable_grad()  # whatever the caller's mode
def value_and_grad(f: Objective, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    value = f(x, rows)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


@torch.no_grad()
def minimise(
    f: Objective, start: Tensor, hessian: BFGS | LBFGS, evaluations: int, tolerance: float, wolfe: bool = True
) -> Minimum:
    """Minimise n functions of d variables from start (n, d); each evaluation of f covers all unfinished problems.

    wolfe: bisect a step until it satisfies the weak Wolfe conditions, with which BFGS also converges on kinks (Lewis &
    Overton 2013). Otherwise sufficient decrease is enough (Armijo), and a step without it is shortened by a parabola.
    A problem ends when its model predicts a decrease below tolerance · |value|, or when the step becomes tiny.
    """
    x, rows = start.clone(), torch.arange(len(start), device=start.device)
    value, gradient = value_and_grad(f, x, rows)
    direction, spent, trace = hessian.direction(gradient, rows), torch.ones_like(rows), [value.clone()]
    step, low, high = torch.ones_like(value), torch.zeros_like(value), torch.full_like(value, torch.inf)
    while len(trace) < evaluations:
        expected_decrease = -(gradient * direction).sum(1)
        lost = (high - low) * direction.norm(dim=1) < torch.finfo(x.dtype).eps * x.norm(dim=1)
        tiny = lost if wolfe else step <= 1e-4
        rows = ((expected_decrease > tolerance * value.abs()) & ~tiny).nonzero().squeeze(1)
        if not len(rows):
            break
        trial = x[rows] + step[rows, None] * direction[rows]
        new_value, new_gradient = value_and_grad(f, trial, rows)
        spent[rows] += 1
        linear = step[rows] * expected_decrease[rows]
        ok = decrease_ok = new_value <= value[rows] - 1e-4 * linear
        if wolfe:
            curvature_ok = -(new_gradient * direction[rows]).sum(1) <= 0.9 * expected_decrease[rows]
            high[rows] = torch.where(decrease_ok, high[rows], step[rows])
            low[rows] = torch.where(decrease_ok & ~curvature_ok, step[rows], low[rows])
            ok = decrease_ok & curvature_ok
            step[rows] = torch.where(high[rows].isinf(), 2 * low[rows], (low[rows] + high[rows]) / 2)
        else:
            parabola = linear / (2 * (new_value - value[rows] + linear))  # its minimum, as a share of the step
            step[rows] *= parabola.nan_to_num(0.1).clamp(0.1, 0.5)
        rows, trial, new_gradient = rows[ok], trial[ok], new_gradient[ok]
        hessian.update(trial - x[rows], new_gradient - gradient[rows], rows)
        x[rows], value[rows], gradient[rows] = trial, new_value[ok], new_gradient
        step[rows], low[rows], high[rows] = 1.0, 0.0, torch.inf
        direction[rows] = hessian.direction(new_gradient, rows)
        trace.append(value.clone())
    return Minimum(x, value, gradient, spent, torch.stack(trace))
