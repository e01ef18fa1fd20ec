"""The path of least energy between two codes: several starts, finer grids, and a certificate of what was found."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from helpers.descent import Density, descend
from helpers.neighbour_graph import graph_paths
from helpers.paths import (
    Decode,
    as_rows,
    check_ends,
    conformal_density,
    decode,
    image_cost,
    linear_path,
    pullback_density,
    resample,
    slerp,
)

COARSE = 17  # points of the grid on which the best start is found
FINEST = 257  # points of the finest grid
AT_ONCE = 32  # pairs in one batch


@dataclass(frozen=True)
class Geodesic:
    """A path of least energy and its certificate; for a batch each number is a tensor (P,).

    path: (points, d) or (P, points, d), float64, at constant metric speed. lower_bound: no path has less energy.
    speed_deviation: the largest relative deviation of the energy density from its mean over the path; descent_deviation
    the same before the path was run through at constant metric speed, 0 at an optimum of a smooth energy.
    residual: that of the discrete Euler-Lagrange equation, ‖δU‖ (∫‖Ż‖²)^½ / 2U in the norm dual to (∫‖Ż‖²)^½.
    evaluations: how many energies with gradients the final grid took.
    start: where the descent began: 0 the segment, 1 the great arc, 2 the neighbour graph.
    """

    path: Tensor
    energy: float | Tensor
    lower_bound: float | Tensor
    speed_deviation: float | Tensor
    descent_deviation: float | Tensor
    residual: float | Tensor
    evaluations: int | Tensor
    start: int | Tensor

    @property
    def rho(self) -> float | Tensor:
        """Energy over its lower bound, at least 1; where both are 0 it is 1."""
        energy, bound = torch.as_tensor(self.energy), torch.as_tensor(self.lower_bound)
        ratio = torch.where(energy == bound, 1.0, energy / bound)
        return ratio if ratio.dim() else ratio.item()


def shortest_path(
    generator: Decode,
    z_a: Tensor,
    z_b: Tensor,
    x_a: Tensor,
    x_b: Tensor,
    points: int = 33,
    change: float | None = None,
    codes: Tensor | None = None,
) -> Geodesic:
    """The path from z_a to z_b that minimises U; with z (P, d) and images (P, …), P of them at once.

    Its lower bound is ½‖x_a − x_b‖²‖z_a − z_b‖². It is the best end of descents from the segment, from the great arc
    and, given `codes` (N, d), from the shortest way over their neighbour graph; hence never worse than the segment.
    change: double the grid until U changes by less than this share, up to FINEST points. generator: in eval mode.
    Raises ValueError for fewer than 3 points, or for shapes or values that make no sense.
    """
    check_ends(z_a, z_b, points)
    generator = _at_precision(generator, z_a)
    size = decode(generator, z_a.detach().reshape(-1, z_a.shape[-1])[:1].double()).numel()
    pairs = len(z_a) if z_a.dim() == 2 else 1
    x_a, x_b = (x.detach().expand(pairs, 1, size) for x in as_rows(x_a, x_b, size, pairs))

    def density(path: Tensor, rows: Tensor) -> Tensor:
        return conformal_density(image_cost(generator, x_a[rows], x_b[rows]), path)

    bound = (x_a - x_b).square().sum((1, 2)) * (z_a - z_b).double().square().sum(-1) / 2
    return minimise_energy(density, z_a, z_b, bound, points, change=change, codes=codes)


def pullback_geodesic(
    generator: Decode, z_a: Tensor, z_b: Tensor, points: int = 33, evaluations: int = 150
) -> Geodesic:
    """The path from z_a to z_b, (d,) or (P, d), of least `pullback_energy`; its bound is ‖G(z_a) − G(z_b)‖².

    Far worse conditioned than U, and kinked: look at `residual` before calling it a geodesic. Codes are whitened by
    the segment's mean metric, or the descent would hardly move. Raises ValueError as `shortest_path` does.
    """
    check_ends(z_a, z_b, points)
    generator = _at_precision(generator, z_a)
    begin, end = (z.detach().double().reshape(-1, z.shape[-1]) for z in (z_a, z_b))
    with torch.no_grad():
        bound = (decode(generator, begin) - decode(generator, end)).square().sum(1)
        parts = [_mean_metric_roots(generator, part) for part in linear_path(begin, end, 9).split(AT_ONCE)]
        whiten, unwhiten = (torch.cat(roots) for roots in zip(*parts, strict=True))

    def density(path: Tensor, rows: Tensor) -> Tensor:
        return pullback_density(generator, path @ unwhiten[rows])

    ends = ((z.unsqueeze(1) @ whiten).reshape(z_a.shape) for z in (begin, end))
    found = minimise_energy(density, *ends, bound, points, evaluations)
    return replace(found, path=(found.path.reshape(len(begin), points, -1) @ unwhiten).reshape(found.path.shape))


def minimise_energy(
    density: Density,
    z_a: Tensor,
    z_b: Tensor,
    bound: Tensor,
    points: int,
    evaluations: int = 300,
    change: float | None = None,
    codes: Tensor | None = None,
) -> Geodesic:
    """The path from z_a to z_b, (d,) or (P, d), of least energy mean(density), for any density of geodesic form.

    density: paths (R, T + 1, d) and the numbers (R,) of the pairs that they join, to (R, T). bound: (P,).
    evaluations: how many at most on each grid. change, codes: as for `shortest_path`. More than AT_ONCE pairs are
    solved in parts, so that memory does not grow with them.
    """
    if z_a.dim() == 2 and len(z_a) > AT_ONCE:
        parts = [
            minimise_energy(
                lambda path, rows, first=k: density(path, rows + first),
                *(part[k : k + AT_ONCE] for part in (z_a, z_b, bound)),
                points, evaluations, change, codes,
            )
            for k in range(0, len(z_a), AT_ONCE)
        ]  # fmt: skip
        finest = max(part.path.shape[1] for part in parts)
        parts = [replace(part, path=_on_grid(part.path, finest)) for part in parts]
        return Geodesic(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Geodesic)))
    begin, end = (z.detach().double().reshape(-1, z.shape[-1]) for z in (z_a, z_b))
    pairs, grid = len(begin), min(points, COARSE)
    everyone = torch.arange(pairs, device=begin.device)
    starts = [linear_path(begin, end, grid), slerp(begin, end, grid)]
    if codes is not None:
        starts.append(graph_paths(density, begin, end, codes, grid))
    paths = torch.cat(starts)  # row r joins pair r mod P
    rough = descend(lambda path, rows: density(path, rows % pairs), paths, tolerance=1e-4, evaluations=evaluations)
    start = rough.energy.reshape(-1, pairs).argmin(0)
    path = rough.path[start * pairs + everyone]
    if grid < points:
        path = _on_grid(path, points)
    line = linear_path(begin, end, points)
    with torch.no_grad():
        better = density(path, everyone).mean(1) <= density(line, everyone).mean(1)  # a finer grid may judge otherwise
    final = descend(density, torch.where(better[:, None, None], path, line), evaluations=evaluations)
    start = torch.where(better, start, 0)
    path, energy, residual, spent = final.path, final.energy, final.residual, final.evaluations
    moving = everyone
    while change is not None and len(moving) and path.shape[1] < FINEST:
        path = _on_grid(path, 2 * path.shape[1] - 1)
        finer = descend(lambda part, rows, of=moving: density(part, of[rows]), path[moving], evaluations=evaluations)
        moved = (finer.energy / energy[moving] - 1).abs() > change
        path[moving], energy[moving], residual[moving] = finer.path, finer.energy, finer.residual
        spent[moving], moving = finer.evaluations, moving[moved]
    path, energy, deviation, left = _retime(density, path, linear_path(begin, end, path.shape[1]))
    numbers = (energy, bound, deviation, left, residual, spent, start)
    single = z_a.dim() == 1
    return Geodesic(path[0], *(n[0].item() for n in numbers)) if single else Geodesic(path, *numbers)


def _on_grid(path: Tensor, points: int) -> Tensor:
    """The polylines (P, T + 1, d), clocks and all, on another number of points."""
    return resample(path, torch.ones_like(path[:, 1:, 0]), points)


@torch.no_grad()
def _retime(density: Density, path: Tensor, line: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Paths at constant metric speed, their energies, the speed's deviation before and after.

    Where the descent has left another speed, at kinks of G, this one costs nothing but the grid's error, for U = L².
    """
    everyone = torch.arange(len(path), device=path.device)

    def judge(path: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        speed = density(path, everyone)
        energy = speed.mean(1)
        return speed, energy, (speed / energy[:, None] - 1).abs().amax(1).nan_to_num(0.0)

    speed, energy, deviation = judge(path)
    even = resample(path, speed.sqrt(), path.shape[1])
    even = resample(even, judge(even)[0].sqrt(), path.shape[1])
    _, even_energy, even_deviation = judge(even)
    good = (even_energy <= judge(line)[1]) & (even_deviation < deviation)  # never worse than the segment
    path = torch.where(good[:, None, None], even, path)
    energy = torch.where(good, even_energy, energy)
    return path, energy, torch.where(good, even_deviation, deviation), deviation


def _mean_metric_roots(generator: Decode, path: Tensor) -> tuple[Tensor, Tensor]:
    """M^½ and M^−½, (P, d, d), of M the mean of JᵀJ over paths (P, T, d): by differences, for a preconditioner only."""
    shifts = 0.05 * torch.eye(path.shape[-1]).to(path)
    J = (decode(generator, path.unsqueeze(2) + shifts) - decode(generator, path).unsqueeze(2)) / 0.05
    M = torch.einsum("ptid, ptjd -> pij", J, J)
    values, vectors = torch.linalg.eigh(M / M.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-300)[:, None, None])
    roots = values.clamp_min(1e-3).sqrt().unsqueeze(1)
    return (vectors * roots) @ vectors.mT, (vectors / roots) @ vectors.mT


def _at_precision(generator: Decode, like: Tensor) -> Decode:
    """A plain function gets codes of the caller's precision; a module is asked for its own in `decode`."""
    return generator if isinstance(generator, nn.Module) else lambda z: generator(z.to(like.dtype))
