"""Paths between two codes and what they cost: the assignment's energy U, the pullback energy, lengths, clocks.

A path is a polyline of codes at equal times: (points, d), or (P, points, d) for P paths at once.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.compute import require_count

Decode = Callable[[Tensor], Tensor]  # codes (…, d) to flattened images (…, D)
Cost = Callable[[Tensor], Tensor]  # codes (P, T, d) to costs (P, T)


def linear_path(z_a: Tensor, z_b: Tensor, points: int = 33) -> Tensor:
    """The segment from z_a to z_b, (d,) or (P, d), at constant speed: (points, d) or (P, points, d).

    Raises ValueError for fewer than 3 points or for ends that are not two finite codes of one shape.
    """
    check_ends(z_a, z_b, points)
    t = torch.linspace(0, 1, points, dtype=z_a.dtype, device=z_a.device).unsqueeze(1)
    return (1 - t) * z_a.unsqueeze(-2) + t * z_b.unsqueeze(-2)


def slerp(z_a: Tensor, z_b: Tensor, points: int = 33) -> Tensor:
    """The great arc sin((1−t)ω)/sin ω · z_a + sin(tω)/sin ω · z_b (Shoemake 1985), shaped as in `linear_path`.

    ω is the angle between the codes. Where sin ω = 0 it is the segment. Raises ValueError as `linear_path` does.
    """
    line = linear_path(z_a, z_b, points)
    t = torch.linspace(0, 1, points, dtype=z_a.dtype, device=z_a.device).unsqueeze(1)
    cosine = F.cosine_similarity(z_a, z_b, -1).clamp(-1, 1)[..., None, None]
    omega = cosine.arccos()
    share_a, share_b = (((time * omega).sin() / omega.sin().clamp_min(1e-4)) for time in (1 - t, t))
    return torch.where(omega.sin() > 1e-4, share_a * z_a.unsqueeze(-2) + share_b * z_b.unsqueeze(-2), line)


def resample(path: Tensor, lengths: Tensor, points: int) -> Tensor:
    """The same polyline with nodes at equal shares of its length: (points, d) or (P, points, d).

    lengths: (T,) or (P, T), those of its T segments in any metric (e.g. `metric_lengths`).
    Raises ValueError if there is not one length ≥ 0 for each segment.
    """
    if lengths.shape != (*path.shape[:-2], path.shape[-2] - 1) or not (lengths >= 0).all():
        raise ValueError(f"lengths {tuple(lengths.shape)} must be ≥ 0, one for each segment of {tuple(path.shape)}.")
    lengths = lengths.double() + lengths.sum(-1, keepdim=True) * 1e-12 + 1e-300  # no segment may have no share at all
    reached = F.pad(lengths.cumsum(-1), (1, 0))
    share = torch.linspace(0, 1, points, dtype=torch.float64, device=path.device) * reached[..., -1:]
    segment = (torch.searchsorted(reached, share, right=True) - 1).clamp(0, lengths.shape[-1] - 1)
    within = (share - reached.gather(-1, segment)) / lengths.gather(-1, segment)
    index = segment.unsqueeze(-1).expand(*segment.shape, path.shape[-1])
    begin, end = path.gather(-2, index), path.gather(-2, index + 1)
    inner = torch.lerp(begin, end, within.clamp(0, 1).unsqueeze(-1).to(path.dtype))[..., 1:-1, :]
    return torch.cat([path[..., :1, :], inner, path[..., -1:, :]], -2)  # the ends to the last bit


def image_cost(generator: Decode, x_a: Tensor, x_b: Tensor) -> Cost:
    """c(z) = ‖G(z) − x_a‖² + ‖G(z) − x_b‖² of codes (P, T, d): (P, T). Images: one each, or P each.

    Raises ValueError if the images do not fit the generator's or are not finite.
    """

    def cost(z: Tensor) -> Tensor:
        images = decode(generator, z)
        a, b = (x.to(images) for x in as_rows(x_a, x_b, images.shape[-1], len(z)))
        return (images - a).square().sum(-1) + (images - b).square().sum(-1)

    return cost


def conformal_density(cost: Cost, path: Tensor) -> Tensor:
    """c‖Ż‖² on each segment of paths (P, T + 1, d), c taken at the midpoint: (P, T); its mean over T is the energy."""
    segments = path.shape[1] - 1
    return cost((path[:, 1:] + path[:, :-1]) / 2) * (path.diff(dim=1) * segments).square().sum(-1)


def pullback_density(generator: Decode, path: Tensor) -> Tensor:
    """‖d/dt G(Z)‖² on each segment of paths (P, T + 1, d), by the difference of its ends' images: (P, T)."""
    return (decode(generator, path).diff(dim=1) * (path.shape[1] - 1)).square().sum(-1)


def metric_lengths(cost: Cost, path: Tensor) -> Tensor:
    """√c‖dZ‖ of each segment of a path (T + 1, d) or of P paths: (T,) or (P, T)."""
    lengths = conformal_density(cost, _batch(path)).sqrt() / (path.shape[-2] - 1)
    return lengths if path.dim() == 3 else lengths[0]


def image_lengths(generator: Decode, path: Tensor) -> Tensor:
    """‖G(z_{t+1}) − G(z_t)‖ along a path (T + 1, d) or P paths: (T,) or (P, T)."""
    lengths = pullback_density(generator, _batch(path)).sqrt() / (path.shape[-2] - 1)
    return lengths if path.dim() == 3 else lengths[0]


def path_energy(generator: Decode, path: Tensor, x_a: Tensor, x_b: Tensor) -> Tensor:
    """U(Z) = ∫ (‖G(Z) − x_a‖² + ‖G(Z) − x_b‖²) ‖Ż‖² dt of a polyline, by midpoint quadrature; differentiable.

    path (T + 1, d) with T ≥ 2 gives a scalar; (P, T + 1, d) gives (P,), with one image at each end or P of them.
    Raises ValueError for other shapes or for what is not finite.
    """
    energies = conformal_density(image_cost(generator, x_a, x_b), _batch(path)).mean(1)
    return energies if path.dim() == 3 else energies[0]


def pullback_energy(generator: Decode, path: Tensor) -> Tensor:
    """∫ ‖d/dt G(Z)‖² dt of a polyline (T + 1, d), a scalar, or of P of them, (P,) (Shao et al. 2018)."""
    energies = pullback_density(generator, _batch(path)).mean(1)
    return energies if path.dim() == 3 else energies[0]


def as_rows(x_a: Tensor, x_b: Tensor, size: int, pairs: int) -> tuple[Tensor, Tensor]:
    """Two images, or two batches of `pairs` images, of `size` pixels: (1 or pairs, 1, size), float64."""
    for x in (x_a, x_b):
        if x.numel() not in (size, pairs * size) or not torch.isfinite(x).all():
            raise ValueError(f"an end image must be finite, of {size} pixels, or {pairs} such: not {tuple(x.shape)}.")
    return x_a.double().reshape(-1, 1, size), x_b.double().reshape(-1, 1, size)


def decode(generator: Decode, z: Tensor) -> Tensor:
    """Flattened images (…, D) of codes (…, d), computed in the precision of the generator's weights."""
    like = next(generator.parameters(), z) if isinstance(generator, nn.Module) else z
    images = generator(z.reshape(-1, z.shape[-1]).to(like.dtype))
    return images.reshape(*z.shape[:-1], -1).to(z.dtype)


def _batch(path: Tensor) -> Tensor:
    if path.dim() not in (2, 3) or path.shape[-2] < 3 or not torch.isfinite(path).all():
        raise ValueError(f"path {tuple(path.shape)} must be finite, (points, d) or (P, points, d), with points ≥ 3.")
    return path if path.dim() == 3 else path.unsqueeze(0)


def check_ends(z_a: Tensor, z_b: Tensor, points: int) -> None:
    require_count(3, points=points)
    if z_a.shape != z_b.shape or z_a.dim() not in (1, 2) or not z_a.numel():
        raise ValueError(f"z_a {tuple(z_a.shape)} and z_b {tuple(z_b.shape)} must both be (d,) or both (P, d).")
    if not (torch.isfinite(z_a).all() and torch.isfinite(z_b).all()):
        raise ValueError("z_a and z_b must be finite.")
