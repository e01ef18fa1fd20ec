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
        self.inverse = inverse
        self.unscaled = None  # (n,): whose initial Hessian awaits its scale, where none was given

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
            scale = (sy / y.square().sum(1))[first, None, None]
            self.inverse[rows[first]] = scale * torch.eye(s.shape[1]).to(s)
            self.unscaled[rows] = False
        H = self.inverse[rows]
        Hy = (H @ y.unsqueeze(-1)).squeeze(-1)
        cross = torch.einsum("ni,nj->nij", s, Hy / sy[:, None])
        weight = (1 + (y * Hy).sum(1) / sy) / sy
        self.inverse[rows] = H - cross - cross.mT + torch.einsum("n,ni,nj->nij", weight, s, s)


class LBFGS:
    """The last `memory` pairs (s, y) of each problem represent its inverse Hessian, which is initially scale (n,) I."""

    def __init__(self, scale: Tensor, size: int, memory: int = 10):
        self.scale = scale.clone()
        self.s = scale.new_zeros(memory, len(scale), size)
        self.y = torch.zeros_like(self.s)
        self.weight = scale.new_zeros(memory, len(scale))  # 1/sᵀy, or 0 for an empty entry

    def direction(self, g: Tensor, rows: Tensor) -> Tensor:
        """The quasi-Newton step −H g by the two-loop recursion (Nocedal & Wright 2006, algorithm 7.4)."""
        s, y, weight = self.s[:, rows], self.y[:, rows], self.weight[:, rows]
        alpha = torch.zeros_like(weight)
        q = g
        for k in reversed(range(len(s))):  # from the newest pair to the oldest
            alpha[k] = weight[k] * (s[k] * q).sum(1)
            q = q - alpha[k, :, None] * y[k]
        q = self.scale[rows, None] * q
        for k in range(len(s)):
            beta = weight[k] * (y[k] * q).sum(1)
            q = q + (alpha[k] - beta)[:, None] * s[k]
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
    """Values (m,) and gradients (m, d) at points x (m, d) of the problems numbered rows (m,)."""
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
    rows = torch.arange(len(start), device=start.device)
    value, gradient = value_and_grad(f, start, rows)
    search = LineSearches(start.clone(), value, gradient, hessian.direction(gradient, rows))
    accept = search.accept_wolfe if wolfe else search.accept_armijo
    spent = torch.ones_like(rows)
    trace = [value.clone()]
    while len(trace) < evaluations:
        finished = search.bracket_is_tiny() if wolfe else search.step <= 1e-4
        rows = (search.promises(tolerance) & ~finished).nonzero().squeeze(1)
        if not len(rows):
            break
        trial = search.trial(rows)
        new_value, new_gradient = value_and_grad(f, trial, rows)
        spent[rows] += 1
        ok = accept(rows, new_value, new_gradient)
        search.move(rows[ok], trial[ok], new_value[ok], new_gradient[ok], hessian)
        trace.append(search.value.clone())
    return Minimum(search.x, search.value, search.gradient, spent, torch.stack(trace))


class LineSearches:
    """The line searches of n problems: where each stands, its direction, and the step that it tries next."""

    def __init__(self, x: Tensor, value: Tensor, gradient: Tensor, direction: Tensor):
        self.x = x  # (n, d), as gradient and direction
        self.value = value  # (n,)
        self.gradient = gradient
        self.direction = direction
        self.step = torch.ones_like(value)  # (n,): to be tried, in units of the direction
        self.low = torch.zeros_like(value)  # (n,): the longest step known to be too short
        self.high = torch.full_like(value, torch.inf)  # (n,): the shortest step known to be too long

    def expected_decrease(self) -> Tensor:
        """By which a step of 1 would lower the linear model of each problem: (n,)."""
        return -(self.gradient * self.direction).sum(1)

    def promises(self, tolerance: float) -> Tensor:
        """Which problems expect a decrease of more than tolerance · |value|: (n,)."""
        return self.expected_decrease() > tolerance * self.value.abs()

    def bracket_is_tiny(self) -> Tensor:
        """Where the interval between too short and too long steps is below the resolution of x: (n,)."""
        width = (self.high - self.low) * self.direction.norm(dim=1)
        return width < torch.finfo(self.x.dtype).eps * self.x.norm(dim=1)

    def trial(self, rows: Tensor) -> Tensor:
        """The points (m, d) that problems `rows` (m,) try next."""
        return self.x[rows] + self.step[rows, None] * self.direction[rows]

    def accept_wolfe(self, rows: Tensor, new_value: Tensor, new_gradient: Tensor) -> Tensor:
        """Which trials satisfy the weak Wolfe conditions (m,); each next step doubles, or halves its bracket."""
        expected = self.expected_decrease()[rows]
        step, low, high = self.step[rows], self.low[rows], self.high[rows]
        decreases = new_value <= self.value[rows] - 1e-4 * (step * expected)
        flattens = -(new_gradient * self.direction[rows]).sum(1) <= 0.9 * expected
        high = torch.where(decreases, high, step)
        low = torch.where(decreases & ~flattens, step, low)
        self.low[rows] = low
        self.high[rows] = high
        self.step[rows] = torch.where(high.isinf(), 2 * low, (low + high) / 2)
        return decreases & flattens

    def accept_armijo(self, rows: Tensor, new_value: Tensor, new_gradient: Tensor) -> Tensor:
        """Which trials decrease sufficiently (m,); the next step of each goes to the minimum of a parabola."""
        linear = self.step[rows] * self.expected_decrease()[rows]
        decreases = new_value <= self.value[rows] - 1e-4 * linear
        parabola = linear / (2 * (new_value - self.value[rows] + linear))  # its minimum, as a share of the step
        self.step[rows] *= parabola.nan_to_num(0.1).clamp(0.1, 0.5)
        return decreases

    def move(self, rows: Tensor, x: Tensor, value: Tensor, gradient: Tensor, hessian: BFGS | LBFGS) -> None:
        """Move problems `rows` (m,) to accepted points x (m, d), and begin the next line search of each there."""
        hessian.update(x - self.x[rows], gradient - self.gradient[rows], rows)
        self.x[rows] = x
        self.value[rows] = value
        self.gradient[rows] = gradient
        self.direction[rows] = hessian.direction(gradient, rows)
        self.step[rows] = 1.0
        self.low[rows] = 0.0
        self.high[rows] = torch.inf
