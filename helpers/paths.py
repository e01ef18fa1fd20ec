"""Paths between two codes: curves, their energies, and the path of minimal energy (a geodesic) with its certificate.

A path is a polyline of codes at equal times: (T + 1, d), or (P, T + 1, d) for P of them. A density is what an energy
averages over time: paths (R, T + 1, d) and the numbers (R,) of the pairs that they join, to values (R, T).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.compute import require_count
from helpers.optimise import LBFGS, Minimum, minimise

Decode = Callable[[Tensor], Tensor]  # codes (N, d) to N images; a plain function is given codes in double precision
Cost = Callable[[Tensor], Tensor]  # codes (…, d) to costs (…)
Density = Callable[[Tensor, Tensor], Tensor]
COARSE, FINEST = 17, 257  # points of the grid on which the better start is found, and of the finest grid


def linear_path(z_a: Tensor, z_b: Tensor, points: int = 33) -> Tensor:
    """The straight line from z_a to z_b, (d,) or (P, d), at constant speed: (points, d) or (P, points, d).

    Raises ValueError for fewer than 3 points or for ends that are not two finite codes of one shape.
    """
    require_count(3, points=points)
    if z_a.shape != z_b.shape or z_a.dim() not in (1, 2) or not z_a.numel() or not (z_a + z_b).isfinite().all():
        raise ValueError(f"z_a {tuple(z_a.shape)}, z_b {tuple(z_b.shape)} must be finite and both (d,) or both (P, d).")
    t = torch.linspace(0, 1, points, dtype=z_a.dtype, device=z_a.device).unsqueeze(1)
    return (1 - t) * z_a.unsqueeze(-2) + t * z_b.unsqueeze(-2)


def slerp(z_a: Tensor, z_b: Tensor, points: int = 33) -> Tensor:
    """Spherical interpolation sin((1−t)ω)/sin ω · z_a + sin(tω)/sin ω · z_b (Shoemake 1985), as `linear_path`.

    ω is the angle between the codes; where sin ω = 0 it is the straight line.
    """
    line = linear_path(z_a, z_b, points)
    t = torch.linspace(0, 1, points, dtype=z_a.dtype, device=z_a.device).unsqueeze(1)
    omega = F.cosine_similarity(z_a, z_b, -1).clamp(-1, 1)[..., None, None].arccos()
    share_a, share_b = (((time * omega).sin() / omega.sin().clamp_min(1e-4)) for time in (1 - t, t))
    return torch.where(omega.sin() > 1e-4, share_a * z_a.unsqueeze(-2) + share_b * z_b.unsqueeze(-2), line)


def constant_speed(path: Tensor, speed: Tensor, points: int) -> Tensor:
    """The polyline (…, T + 1, d) with nodes at equal shares of its length; speed (…, T): √density on its segments."""
    lengths = speed.double() + speed.sum(-1, keepdim=True) * 1e-12 + 1e-300  # lest a segment have no length
    reached = F.pad(lengths.cumsum(-1), (1, 0))
    share = torch.linspace(0, 1, points, dtype=torch.float64, device=path.device) * reached[..., -1:]
    segment = (torch.searchsorted(reached, share, right=True) - 1).clamp(0, lengths.shape[-1] - 1)
    within = (share - reached.gather(-1, segment)) / lengths.gather(-1, segment)
    index = segment.unsqueeze(-1).expand(*segment.shape, path.shape[-1])
    begin, end = path.gather(-2, index), path.gather(-2, index + 1)
    inner = torch.lerp(begin, end, within.clamp(0, 1).unsqueeze(-1).to(path.dtype))[..., 1:-1, :]
    return torch.cat([path[..., :1, :], inner, path[..., -1:, :]], -2)  # the ends to the last bit


def decode(generator: Decode, z: Tensor) -> Tensor:
    """Flattened images (…, D) of codes (…, d), computed in the precision of the generator's weights."""
    like = next(generator.parameters(), z) if isinstance(generator, nn.Module) else z
    return generator(z.reshape(-1, z.shape[-1]).to(like.dtype)).reshape(*z.shape[:-1], -1).to(z.dtype)


def image_cost(generator: Decode, x_a: Tensor, x_b: Tensor) -> Cost:
    """c(z) = ‖G(z) − x_a‖² + ‖G(z) − x_b‖² of codes (T, d) or (P, T, d), for one pair of images or P."""

    def cost(z: Tensor) -> Tensor:
        images = decode(generator, z)
        a, b = (x.to(images).reshape(-1, 1, images.shape[-1]) for x in (x_a, x_b))
        return ((images - a).square().sum(-1) + (images - b).square().sum(-1)).reshape(z.shape[:-1])

    return cost


def conformal_density(cost: Cost, path: Tensor) -> Tensor:
    """c‖Ż‖² on each segment of paths (…, T + 1, d), with c at its midpoint: (…, T); the mean is U."""
    midpoints = (path[..., 1:, :] + path[..., :-1, :]) / 2
    velocity = path.diff(dim=-2) * (path.shape[-2] - 1)
    return cost(midpoints) * velocity.square().sum(-1)


def pullback_density(generator: Decode, path: Tensor) -> Tensor:
    """‖d/dt G(Z)‖² on each segment of paths (…, T + 1, d), by differences (Shao et al. 2018): (…, T)."""
    return (decode(generator, path).diff(dim=-2) * (path.shape[-2] - 1)).square().sum(-1)


def path_energy(generator: Decode, path: Tensor, x_a: Tensor, x_b: Tensor) -> Tensor:
    """U(Z) = ∫ (‖G(Z) − x_a‖² + ‖G(Z) − x_b‖²) ‖Ż‖² dt of a polyline, by midpoint quadrature.

    path (T + 1, d) with T ≥ 2 gives a scalar, (P, T + 1, d) gives (P,); one pair of images or P; ValueError otherwise.
    """
    require_path(path, x_a, x_b)
    return conformal_density(image_cost(generator, x_a, x_b), path).mean(-1)


def require_path(path: Tensor, x_a: Tensor, x_b: Tensor) -> None:
    """Raise ValueError unless `path_energy` is defined for this path and these images."""
    if path.dim() not in (2, 3) or path.shape[-2] < 3:
        raise ValueError(f"path {tuple(path.shape)} must be (points, d) or (P, points, d), with points ≥ 3.")
    if not all(tensor.isfinite().all() for tensor in (path, x_a, x_b)):
        raise ValueError("path and images must be finite.")


def sine_basis(segments: int) -> Tensor:
    """Columns φ_k/√(λ_k T), (T − 1, T − 1), with the eigenpairs φ_k, λ_k of the path Laplacian."""
    k = torch.arange(1, segments, dtype=torch.float64)
    phi = math.sqrt(2 / segments) * torch.sin(math.pi * k[:, None] * k / segments)
    eigenvalues = 2 - 2 * torch.cos(math.pi * k / segments)
    return phi / (eigenvalues * segments).sqrt()


def kinetic_energy(path: Tensor) -> Tensor:
    """∫ ‖Ż‖² dt of polylines (R, T + 1, d): (R,)."""
    return path.diff(dim=1).square().sum((1, 2)) * (path.shape[1] - 1)


@torch.no_grad()
def descend(density: Density, start: Tensor, basis: Tensor, evaluations: int, tolerance: float) -> Minimum:
    """Minimise mean(density) of R paths (R, T + 1, d) by L-BFGS, all at once and with fixed end points.

    It moves the inner points from `start` by basis · y, basis (T − 1, K), y at first 0. With `sine_basis` the number of
    evaluations hardly depends on T (the Sobolev gradient, Neuberger 1997). Returns paths in x, gradients in y.
    """

    def move(y: Tensor, rows: Tensor) -> Tensor:
        inner = basis.to(start) @ y.reshape(len(rows), -1, start.shape[2])
        return start[rows] + F.pad(inner, (0, 0, 1, 1))

    def energy(y: Tensor, rows: Tensor) -> Tensor:
        return density(move(y, rows), rows).mean(1)

    y = start.new_zeros(len(start), basis.shape[1] * start.shape[2])
    rows = torch.arange(len(start), device=start.device)
    scale = kinetic_energy(start) / (2 * energy(y, rows))  # 1/2c, the inverse Hessian for constant c
    hessian = LBFGS(scale.nan_to_num(0.0, 0.0), y.shape[1])
    found = minimise(energy, y, hessian, evaluations, tolerance, wolfe=False)
    return replace(found, x=move(found.x, rows))


@dataclass(frozen=True)
class Geodesic:
    """A path of minimal energy and its certificate; for P paths each number is a tensor (P,)."""

    path: Tensor  # (points, d) or (P, points, d), float64, at constant metric speed
    energy: Tensor
    lower_bound: Tensor  # no path has a lower energy
    speed_deviation: Tensor  # largest relative deviation of the density from its mean over the path
    descent_deviation: Tensor  # the same before reparametrisation, 0 at an optimum of a smooth energy
    residual: Tensor  # of the discrete Euler-Lagrange equation, ‖δU‖ (∫‖Ż‖²)^½ / 2U in the norm dual to (∫‖Ż‖²)^½
    start: Tensor  # where the descent began: 0 the straight line, 1 the spherical interpolation

    @property
    def rho(self) -> Tensor:
        """Energy over its lower bound, at least 1; where both are 0 it is 1."""
        return torch.where(self.energy == self.lower_bound, 1.0, self.energy / self.lower_bound)


def shortest_path(
    generator: Decode, z_a: Tensor, z_b: Tensor, x_a: Tensor, x_b: Tensor, points: int = 33, change: float | None = None
) -> Geodesic:
    """The path from z_a to z_b, (d,) or (P, d), that minimises U for end images x_a and x_b, one or P of each.

    Its lower bound is ½‖x_a − x_b‖²‖z_a − z_b‖². change: see `minimise_energy`. Raises ValueError as `path_energy`.
    """
    path_energy(generator, linear_path(z_a, z_b, points), x_a, x_b)  # raises what it raises
    x_a, x_b = (x.detach().double().reshape(len(z_a) if z_a.dim() == 2 else 1, -1) for x in (x_a, x_b))

    def density(path: Tensor, rows: Tensor) -> Tensor:
        return conformal_density(image_cost(generator, x_a[rows], x_b[rows]), path)

    bound = (x_a - x_b).square().sum(1) * (z_a - z_b).detach().double().square().sum(-1) / 2
    return minimise_energy(density, z_a, z_b, bound, points, change=change)


@torch.no_grad()
def pullback_geodesic(
    generator: Decode, z_a: Tensor, z_b: Tensor, points: int = 33, evaluations: int = 150
) -> Geodesic:
    """The path from z_a to z_b, (d,) or (P, d), with minimal mean `pullback_density`; its bound is ‖G(z_a) − G(z_b)‖².

    Far more ill-conditioned than U: look at `residual` before calling it a geodesic. Codes are whitened by the mean of
    JᵀJ over the straight line, J by differences, or the descent would hardly move.
    """
    line = linear_path(*(z.double().reshape(-1, z.shape[-1]) for z in (z_a, z_b)), 9)
    bound = (decode(generator, line[:, 0]) - decode(generator, line[:, -1])).square().sum(1)
    shifted = line.unsqueeze(2) + 0.05 * torch.eye(line.shape[2]).to(line)
    J = (decode(generator, shifted) - decode(generator, line).unsqueeze(2)) / 0.05
    M = torch.einsum("ptid, ptjd -> pij", J, J)
    values, vectors = torch.linalg.eigh(M / M.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-300)[:, None, None])
    roots = values.clamp_min(1e-3).sqrt().unsqueeze(1)
    whiten, unwhiten = (vectors * roots) @ vectors.mT, (vectors / roots) @ vectors.mT

    def density(path: Tensor, rows: Tensor) -> Tensor:
        return pullback_density(generator, path @ unwhiten[rows])

    ends = ((line[:, [k]] @ whiten).reshape(z_a.shape) for k in (0, -1))
    found = minimise_energy(density, *ends, bound, points, evaluations)
    return replace(found, path=(found.path.reshape(len(line), points, -1) @ unwhiten).reshape(found.path.shape))


@torch.no_grad()
def minimise_energy(
    density: Density, z_a: Tensor, z_b: Tensor, bound: Tensor, points: int, evaluations: int = 300,
    change: float | None = None,
) -> Geodesic:  # fmt: skip
    """The path from z_a to z_b, (d,) or (P, d), with minimal energy mean(density), for any density of geodesic form.

    The better of two descents, from the straight line and from the spherical interpolation. bound: (P,). evaluations:
    at most, on each grid. change: double the grid until the energy changes by less than this share.
    """
    begin, end = (z.detach().double().reshape(-1, z.shape[-1]) for z in (z_a, z_b))
    pairs, grid = torch.arange(len(begin), device=begin.device), min(points, COARSE)
    starts = torch.cat([linear_path(begin, end, grid), slerp(begin, end, grid)])  # row r joins pair r mod P
    basis = sine_basis(grid - 1)
    rough = descend(lambda path, rows: density(path, rows % len(pairs)), starts, basis, evaluations, 1e-4)
    start = rough.value.reshape(2, -1).argmin(0)
    path, line = rough.x[start * len(pairs) + pairs], linear_path(begin, end, points)
    path = path if grid == points else regrid(path, points)
    better = density(path, pairs).mean(1) <= density(line, pairs).mean(1)  # the finer grid may decide otherwise
    start, path = torch.where(better, start, 0), torch.where(better[:, None, None], path, line)

    found = descend(density, path, sine_basis(points - 1), evaluations, 1e-7)
    path, energy, gradient, moving = found.x, found.value, found.gradient.norm(dim=1), pairs
    while change is not None and len(moving) and path.shape[1] < FINEST:
        path = regrid(path, 2 * path.shape[1] - 1)
        basis = sine_basis(path.shape[1] - 1)
        finer = descend(lambda part, rows, of=moving: density(part, of[rows]), path[moving], basis, evaluations, 1e-7)
        moved = (finer.value / energy[moving] - 1).abs() > change
        path[moving], energy[moving], gradient[moving] = finer.x, finer.value, finer.gradient.norm(dim=1)
        moving = moving[moved]
    residual = (gradient * kinetic_energy(path).sqrt() / (2 * energy)).nan_to_num(0.0)

    values, even = density(path, pairs), path
    for _ in range(2):  # at constant speed U = L², up to the error of the grid
        even = constant_speed(even, density(even, pairs).sqrt(), path.shape[1])
    even_values, line = density(even, pairs), linear_path(begin, end, path.shape[1])
    ok = (even_values.mean(1) <= density(line, pairs).mean(1)) & (deviation(even_values) < deviation(values))
    path, final = torch.where(ok[:, None, None], even, path), torch.where(ok[:, None], even_values, values)
    found = Geodesic(path, final.mean(1), bound, deviation(final), deviation(values), residual, start)
    return found if z_a.dim() == 2 else Geodesic(*(getattr(found, field.name)[0] for field in fields(found)))


def regrid(path: Tensor, points: int) -> Tensor:
    """Polylines (P, T + 1, d) on another number of points, at the same times."""
    return constant_speed(path, torch.ones_like(path[:, 1:, 0]), points)


def deviation(density: Tensor) -> Tensor:
    """The largest relative deviation of a density (P, T) from its mean over T: (P,)."""
    return (density / density.mean(1, keepdim=True) - 1).abs().amax(1).nan_to_num(0.0)
