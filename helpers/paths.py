"""Paths between two codes: curves, their energies, and the path of minimal energy (a geodesic) with its certificate.

A path is a polyline of codes at equal times: (T + 1, d), or (P, T + 1, d) for P of them. A density is what an energy
averages over time: paths (R, T + 1, d) and the numbers (R,) of the pairs that they join, to values (R, T). A generator
is a module, or a plain function from codes (N, d) to N images, which is given codes in double precision by the solvers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from helpers.compute import require_count
from helpers.inversion import Decode, require_evaluation_mode, weights_or
from helpers.optimise import LBFGS, Minimum, minimise

Cost = Callable[[Tensor], Tensor]  # codes (…, d) to costs (…)
Density = Callable[[Tensor, Tensor], Tensor]
COARSE, FINEST = 17, 257  # points of the grid on which the better start is found, and of the finest grid


def linear_path(z_a: Tensor, z_b: Tensor, points: int = 33) -> Tensor:
    """The straight line from z_a to z_b, (d,) or (P, d), at constant speed: (points, d) or (P, points, d).

    Codes of whole numbers give a floating-point path. Raises ValueError for fewer than 3 points or for ends that are
    not two finite codes of one shape.
    """
    require_count(3, points=points)
    z_a, z_b = require_codes(z_a, z_b)
    t = torch.linspace(0, 1, points, dtype=z_a.dtype, device=z_a.device).unsqueeze(1)
    return (1 - t) * z_a.unsqueeze(-2) + t * z_b.unsqueeze(-2)


def slerp(z_a: Tensor, z_b: Tensor, points: int = 33) -> Tensor:
    """Spherical interpolation sin((1−t)ω)/sin ω · z_a + sin(tω)/sin ω · z_b (Shoemake 1985), as `linear_path`.

    ω is the angle between the codes; where sin ω = 0 it is the straight line.
    """
    line = linear_path(z_a, z_b, points)
    z_a, z_b = require_codes(z_a, z_b)
    t = torch.linspace(0, 1, points, dtype=z_a.dtype, device=z_a.device).unsqueeze(1)
    omega = F.cosine_similarity(z_a, z_b, -1).clamp(-1, 1)[..., None, None].arccos()
    divisor = omega.sin().clamp_min(1e-4)
    share_a = ((1 - t) * omega).sin() / divisor
    share_b = (t * omega).sin() / divisor
    return torch.where(omega.sin() > 1e-4, share_a * z_a.unsqueeze(-2) + share_b * z_b.unsqueeze(-2), line)


def require_codes(z_a: Tensor, z_b: Tensor) -> tuple[Tensor, Tensor]:
    """Both ends in floating point; ValueError unless they are finite codes of one shape, (d,) or (P, d)."""
    if z_a.shape != z_b.shape or z_a.dim() not in (1, 2) or not z_a.numel() or not (z_a + z_b).isfinite().all():
        raise ValueError(f"z_a {tuple(z_a.shape)}, z_b {tuple(z_b.shape)} must be finite and both (d,) or both (P, d).")
    z_a = z_a if z_a.is_floating_point() else z_a.to(torch.get_default_dtype())
    z_b = z_b if z_b.is_floating_point() else z_b.to(torch.get_default_dtype())
    return z_a, z_b


def constant_speed(path: Tensor, speed: Tensor, points: int) -> Tensor:
    """The polyline (…, T + 1, d) with nodes at equal shares of its length; speed (…, T): √density on its segments."""
    lengths = speed.double() + speed.sum(-1, keepdim=True) * 1e-12 + 1e-300  # (…, T), lest a segment have no length
    reached = F.pad(lengths.cumsum(-1), (1, 0))  # (…, T + 1): the length from the start to each old node
    share = torch.linspace(0, 1, points, dtype=torch.float64, device=path.device)
    wanted = share * reached[..., -1:]  # (…, points): the length from the start to each new node
    segment = torch.searchsorted(reached, wanted, right=True) - 1  # (…, points): begins at the last old node before it
    segment = segment.clamp(0, lengths.shape[-1] - 1)
    within = (wanted - reached.gather(-1, segment)) / lengths.gather(-1, segment)  # the fraction of that segment
    inner = interpolate(path, segment, within)[..., 1:-1, :]
    return torch.cat([path[..., :1, :], inner, path[..., -1:, :]], -2)  # the ends to the last bit


def interpolate(path: Tensor, segment: Tensor, within: Tensor) -> Tensor:
    """Points (…, N, d) of polylines (…, T + 1, d) at a fraction `within` (…, N) in [0, 1] of the segments (…, N)."""
    index = segment.unsqueeze(-1).expand(*segment.shape, path.shape[-1])  # (…, N, d), as `gather` needs
    begin = path.gather(-2, index)
    end = path.gather(-2, index + 1)
    weight = within.clamp(0, 1).unsqueeze(-1).to(path.dtype)  # (…, N, 1)
    return torch.lerp(begin, end, weight)


def decode(generator: Decode, z: Tensor) -> Tensor:
    """Flattened images (…, D) of codes (…, d), computed in the precision of the generator's weights."""
    like = weights_or(generator, z)
    return generator(z.reshape(-1, z.shape[-1]).to(like.dtype)).reshape(*z.shape[:-1], -1).to(z.dtype)


def image_cost(generator: Decode, x_a: Tensor, x_b: Tensor) -> Cost:
    """c(z) = ‖G(z) − x_a‖² + ‖G(z) − x_b‖² of codes (T, d) or (P, T, d), for one pair of images or P."""

    def cost(z: Tensor) -> Tensor:
        images = decode(generator, z)
        pairs = len(z) if z.dim() == 3 else 1
        a = end_images(x_a, images, pairs).unsqueeze(1)
        b = end_images(x_b, images, pairs).unsqueeze(1)
        return ((images - a).square().sum(-1) + (images - b).square().sum(-1)).reshape(z.shape[:-1])

    return cost


def end_images(x: Tensor, like: Tensor, pairs: int) -> Tensor:
    """One end image or `pairs` of them as (1, D) or (pairs, D), like images (…, D); ValueError for another number."""
    size = like.shape[-1]
    if x.numel() not in (size, pairs * size):
        allowed = f"one image or {pairs}" if pairs > 1 else "one image"
        raise ValueError(f"end images {tuple(x.shape)} must be {allowed} of {size} pixels, as the generator outputs.")
    return x.to(like).reshape(-1, size)


def nearest_image_ratio(images: Tensor, x_a: Tensor, x_b: Tensor) -> Tensor:
    """The lowest c among images (N, …), over its lower bound ½‖x_a − x_b‖², for P pairs x_a, x_b (P, …): (P,).

    It is 1 + 4r²/‖x_a − x_b‖², with r the least distance of an image from the pixel average of the pair, and no path
    whose images all keep this distance has a smaller ρ. For x_a and x_b themselves it is 2.
    """
    a, b = x_a.flatten(1), x_b.flatten(1)
    nearest = torch.cdist((a + b) / 2, images.flatten(1).to(a)).amin(1)
    return 1 + 4 * nearest.square() / (a - b).square().sum(1)


def conformal_density(cost: Cost, path: Tensor) -> Tensor:
    """c‖Ż‖² on each segment of paths (…, T + 1, d), with c at its midpoint: (…, T); the mean is U."""
    midpoints = (path[..., 1:, :] + path[..., :-1, :]) / 2
    velocity = path.diff(dim=-2) * (path.shape[-2] - 1)
    return cost(midpoints) * velocity.square().sum(-1)


def energy_density(generator: Decode, x_a: Tensor, x_b: Tensor) -> Density:
    """The density whose mean is U, for P pairs of flattened images (P, D)."""

    def density(path: Tensor, rows: Tensor) -> Tensor:
        return conformal_density(image_cost(generator, x_a[rows], x_b[rows]), path)

    return density


def pullback_density(generator: Decode, path: Tensor) -> Tensor:
    """‖d/dt G(Z)‖² on each segment of paths (…, T + 1, d), by differences (Shao et al. 2018): (…, T)."""
    return (decode(generator, path).diff(dim=-2) * (path.shape[-2] - 1)).square().sum(-1)


def path_energy(generator: Decode, path: Tensor, x_a: Tensor, x_b: Tensor) -> Tensor:
    """U(Z) = ∫ (‖G(Z) − x_a‖² + ‖G(Z) − x_b‖²) ‖Ż‖² dt of a polyline, by midpoint quadrature.

    path (T + 1, d) with T ≥ 2 gives a scalar, (P, T + 1, d) gives (P,); x_a and x_b are one or P images each.
    Raises ValueError for other shapes, for NaN or infinity, and for a generator in training mode.
    """
    require_path(path)
    require_finite(x_a, x_b)
    require_evaluation_mode(generator)
    return conformal_density(image_cost(generator, x_a, x_b), path).mean(-1)


def require_path(path: Tensor) -> None:
    """Raise ValueError unless a path is (points, d) or (P, points, d) with at least 3 points, all finite."""
    if path.dim() not in (2, 3) or path.shape[-2] < 3:
        raise ValueError(f"path {tuple(path.shape)} must be (points, d) or (P, points, d), with points ≥ 3.")
    if not path.isfinite().all():
        raise ValueError("path must be finite, but holds NaN or infinity.")


def require_finite(x_a: Tensor, x_b: Tensor) -> None:
    """Raise ValueError unless both end images are finite."""
    if not (x_a.isfinite().all() and x_b.isfinite().all()):
        raise ValueError("end images must be finite, but hold NaN or infinity.")


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


def softest_direction(density: Density, path: Tensor) -> tuple[float, Tensor]:
    """The smallest eigenvalue of the Hessian of U = mean(density) at a path (T + 1, d) in float64, and its direction.

    The Hessian is that in the amplitudes of `sine_basis`, by Lanczos iteration, in units of 2U/∫‖Ż‖²: for constant c
    all its eigenvalues are 1. On a LeakyReLU generator it does not see the kinks. The direction (T + 1, d) has the
    kinetic energy of the path and vanishes at both ends.
    """
    segments, size = len(path) - 1, path.shape[1]
    basis, row = sine_basis(segments).to(path), torch.zeros(1, dtype=torch.long, device=path.device)

    def displacement(y: Tensor) -> Tensor:
        return F.pad(basis @ y.reshape(segments - 1, size), (0, 0, 1, 1))

    def energy(y: Tensor) -> Tensor:
        return density((path + displacement(y)).unsqueeze(0), row).mean()

    def product(vector: np.ndarray) -> np.ndarray:
        tangent = torch.from_numpy(vector.reshape(-1).copy()).to(path)
        return torch.func.jvp(torch.func.grad(energy), (origin,), (tangent,))[1].cpu().numpy()

    origin = path.new_zeros((segments - 1) * size)
    kinetic = kinetic_energy(path.unsqueeze(0))[0]
    hessian = LinearOperator((len(origin), len(origin)), matvec=product, dtype=np.float64)
    values, vectors = eigsh(hessian, k=1, which="SA", v0=np.ones(len(origin)), tol=1e-3)
    direction = displacement(torch.from_numpy(vectors[:, 0].copy()).to(path))
    return values[0] * kinetic.item() / (2 * energy(origin).item()), direction * kinetic.sqrt()


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

    Its lower bound is ½‖x_a − x_b‖²‖z_a − z_b‖². change: see `minimise_energy`. Raises ValueError as `linear_path` and
    `path_energy`.
    """
    require_count(3, points=points)
    require_codes(z_a, z_b)
    require_finite(x_a, x_b)
    require_evaluation_mode(generator)
    pairs = len(z_a) if z_a.dim() == 2 else 1
    with torch.no_grad():
        image = decode(generator, z_a.detach().double().reshape(-1, z_a.shape[-1])[:1])
    x_a = end_images(x_a.detach(), image, pairs).expand(pairs, -1)
    x_b = end_images(x_b.detach(), image, pairs).expand(pairs, -1)

    bound = (x_a - x_b).square().sum(1) * (z_a - z_b).detach().double().square().sum(-1) / 2
    return minimise_energy(energy_density(generator, x_a, x_b), z_a, z_b, bound, points, change=change)


@torch.no_grad()
def pullback_geodesic(
    generator: Decode, z_a: Tensor, z_b: Tensor, points: int = 33, evaluations: int = 150
) -> Geodesic:
    """The path from z_a to z_b, (d,) or (P, d), with minimal mean `pullback_density`; its bound is ‖G(z_a) − G(z_b)‖².

    Far more ill-conditioned than U: look at `residual` before calling it a geodesic. Codes are whitened (`whitening`),
    or the descent would hardly move. Raises ValueError as `linear_path`, and for a generator in training mode.
    """
    require_count(3, points=points)
    require_codes(z_a, z_b)
    require_evaluation_mode(generator)
    size = z_a.shape[-1]
    line = linear_path(z_a.double().reshape(-1, size), z_b.double().reshape(-1, size), 9)
    bound = (decode(generator, line[:, 0]) - decode(generator, line[:, -1])).square().sum(1)
    whiten, unwhiten = whitening(generator, line)

    def density(path: Tensor, rows: Tensor) -> Tensor:
        return pullback_density(generator, path @ unwhiten[rows])

    white_a = (line[:, [0]] @ whiten).reshape(z_a.shape)
    white_b = (line[:, [-1]] @ whiten).reshape(z_a.shape)
    found = minimise_energy(density, white_a, white_b, bound, points, evaluations)
    return replace(found, path=(found.path.reshape(len(line), points, -1) @ unwhiten).reshape(found.path.shape))


def whitening(generator: Decode, line: Tensor) -> tuple[Tensor, Tensor]:
    """M^½ and M^−½, (P, d, d), with M the mean of JᵀJ over paths (P, T + 1, d), scaled and kept away from singular.

    J, the generator's Jacobian, is computed by differences.
    """
    shifted = line.unsqueeze(2) + 0.05 * torch.eye(line.shape[2]).to(line)
    J = (decode(generator, shifted) - decode(generator, line).unsqueeze(2)) / 0.05
    M = torch.einsum("ptid, ptjd -> pij", J, J)
    scale = M.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-300)
    values, vectors = torch.linalg.eigh(M / scale[:, None, None])
    roots = values.clamp_min(1e-3).sqrt().unsqueeze(1)
    return (vectors * roots) @ vectors.mT, (vectors / roots) @ vectors.mT


@torch.no_grad()
def minimise_energy(
    density: Density,
    z_a: Tensor,
    z_b: Tensor,
    bound: Tensor,
    points: int,
    evaluations: int = 300,
    change: float | None = None,
) -> Geodesic:
    """The path from z_a to z_b, (d,) or (P, d), with minimal energy mean(density), for any density of geodesic form.

    The better of two descents, from the straight line and from the spherical interpolation. bound: (P,), a lower bound
    of the energy. evaluations: at most, on each grid. change: double the grid, up to FINEST points, until the energy
    changes by less than this share.
    """
    begin = z_a.detach().double().reshape(-1, z_a.shape[-1])
    end = z_b.detach().double().reshape(-1, z_b.shape[-1])
    initial, start = better_start(density, begin, end, points, evaluations)
    found = descend(density, initial, sine_basis(points - 1), evaluations, 1e-7)
    descent = Descent(found.x, found.value, found.gradient.norm(dim=1))
    if change is not None:
        descent = refine(density, descent, evaluations, change)
    residual = (descent.gradient * kinetic_energy(descent.path).sqrt() / (2 * descent.energy)).nan_to_num(0.0)
    before = density(descent.path, torch.arange(len(begin), device=begin.device))
    path, after = at_constant_speed(density, descent.path, before)
    geodesic = Geodesic(path, after.mean(1), bound, deviation(after), deviation(before), residual, start)
    return geodesic if z_a.dim() == 2 else only_path(geodesic)


@dataclass(frozen=True)
class Descent:
    """Where the descents of P paths ended on one grid."""

    path: Tensor  # (P, T + 1, d)
    energy: Tensor  # (P,)
    gradient: Tensor  # (P,): the norm of the energy's gradient in the amplitudes of `sine_basis`


def better_start(density: Density, begin: Tensor, end: Tensor, points: int, evaluations: int) -> tuple[Tensor, Tensor]:
    """Initial paths (P, points, d) and where they come from (P,): 0 the straight line, 1 the spherical interpolation.

    Both are optimised on a coarse grid, and the better result is the initial path, or else the straight line itself.
    """
    pairs = torch.arange(len(begin), device=begin.device)
    grid = min(points, COARSE)
    both = torch.cat([linear_path(begin, end, grid), slerp(begin, end, grid)])  # row r joins pair r mod P
    rough = descend(density_of(density, pairs.repeat(2)), both, sine_basis(grid - 1), evaluations, 1e-4)
    start = rough.value.reshape(2, -1).argmin(0)
    path = rough.x[start * len(pairs) + pairs]
    if grid != points:
        path = regrid(path, points)
    line = linear_path(begin, end, points)
    better = density(path, pairs).mean(1) <= density(line, pairs).mean(1)  # the finer grid may decide otherwise
    return torch.where(better[:, None, None], path, line), torch.where(better, start, 0)


def refine(density: Density, coarse: Descent, evaluations: int, change: float) -> Descent:
    """Double the grid and descend again for all paths whose energy changed by more than the share `change`."""
    path, energy, gradient = coarse.path, coarse.energy.clone(), coarse.gradient.clone()
    moving = torch.arange(len(path), device=path.device)
    while len(moving) and path.shape[1] < FINEST:
        path = regrid(path, 2 * path.shape[1] - 1)
        basis = sine_basis(path.shape[1] - 1)
        finer = descend(density_of(density, moving), path[moving], basis, evaluations, 1e-7)
        moved = (finer.value / energy[moving] - 1).abs() > change
        path[moving] = finer.x
        energy[moving] = finer.value
        gradient[moving] = finer.gradient.norm(dim=1)
        moving = moving[moved]
    return Descent(path, energy, gradient)


def density_of(density: Density, pairs: Tensor) -> Density:
    """The density of paths of which row r joins the pair pairs[r]."""

    def of_rows(path: Tensor, rows: Tensor) -> Tensor:
        return density(path, pairs[rows])

    return of_rows


def at_constant_speed(density: Density, path: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Paths (P, T + 1, d) reparametrised to constant metric speed, and their densities (P, T); values: the old ones.

    A path stays as it is where this would raise its energy above the straight line's or would not even out its density.
    """
    pairs = torch.arange(len(path), device=path.device)
    even = path
    for _ in range(2):  # at constant speed U = L², up to the error of the grid
        even = constant_speed(even, density(even, pairs).sqrt(), path.shape[1])
    even_values = density(even, pairs)
    line = linear_path(path[:, 0], path[:, -1], path.shape[1])
    ok = (even_values.mean(1) <= density(line, pairs).mean(1)) & (deviation(even_values) < deviation(values))
    return torch.where(ok[:, None, None], even, path), torch.where(ok[:, None], even_values, values)


def only_path(geodesic: Geodesic) -> Geodesic:
    """The first of P geodesics, without the dimension P."""
    return Geodesic(*(getattr(geodesic, field.name)[0] for field in fields(geodesic)))


def regrid(path: Tensor, points: int) -> Tensor:
    """Polylines (…, T + 1, d) on another number of points, at the same times."""
    return constant_speed(path, torch.ones_like(path[..., 1:, 0]), points)


def deviation(density: Tensor) -> Tensor:
    """The largest relative deviation of a density (P, T) from its mean over T: (P,)."""
    return (density / density.mean(1, keepdim=True) - 1).abs().amax(1).nan_to_num(0.0)
