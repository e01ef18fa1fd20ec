"""Slices of a function of latent codes: its values along a line, with decoded images, and in a plane."""

from collections.abc import Callable, Sequence

import matplotlib.patheffects as patheffects
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from torch import Tensor
from torch.nn.functional import normalize

from helpers.compute import in_batches
from helpers.show.figures import COLOURS, digits

POINTS = 61  # of a plane's grid along each side
MARGIN = 0.3  # of the grid around the triangle, as a fraction of its width and height


def along(ax: Axes, values: Tensor, images: Tensor, names: Sequence[str]) -> None:
    """Values (n,) at equally spaced points of a line; above them k columns of images (k, rows, 28, 28), as spaced.

    names: those of the first and the last point.
    """
    highest, share = values.max().item(), 0.6  # of the height, for the curve
    ax.plot(np.linspace(0, 1, len(values)), values.cpu(), color=COLOURS["gan"])
    ax.set(xlim=(-0.12, 1.12), ylim=(0, highest / share))
    ax.set_xticks((0, 0.5, 1), (names[0], "halfway", names[1]))
    ax.set_yticks([level for level in ax.get_yticks() if level <= highest])
    ax.spines.left.set_bounds(0, highest)
    for place, column in zip(np.linspace(0, 1, len(images)), images, strict=True):
        picture = ax.inset_axes([place - 0.12, share + 0.02, 0.24, 0.98 - share], transform=ax.get_xaxis_transform())
        digits(picture, column, columns=1)


def plane_through(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Orthonormal axes (2, d) of the plane through three codes (d,), and their coordinates in it, from a: (3, 2).

    The first axis points from a to b, and c is on the positive side of it.
    """
    first = normalize(b - a, dim=0)  # 0 for equal codes
    axes = torch.stack([first, normalize(c - a - ((c - a) @ first) * first, dim=0)])
    return axes, (torch.stack([a, b, c]) - a) @ axes.T


def plane_grid(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (POINTS,) along both axes of a grid that holds the corners (3, 2) with a margin."""
    low, high = corners.amin(0), corners.amax(0)
    margin = MARGIN * (high - low).clamp_min(1e-6)
    steps = torch.linspace(0, 1, POINTS).to(corners)[:, None]
    grid = torch.lerp(low - margin, high + margin, steps)  # (POINTS, 2)
    return grid[:, 0], grid[:, 1]


def plane(ax: Axes, f: Callable[[Tensor], Tensor], codes: Tensor, names: Sequence[str]) -> None:
    """Contours, on a log scale, of f: codes (N, d) → values (N,) in the plane through three codes (3, d)."""
    axes, corners = plane_through(*codes)
    u, v = plane_grid(corners)
    points = codes[0] + u[None, :, None] * axes[0] + v[:, None, None] * axes[1]  # (POINTS, POINTS, d)
    values = in_batches(f, points.flatten(0, 1)).reshape(POINTS, POINTS).double().cpu().numpy()
    levels = np.geomspace(values.min(), values.max() * (1 + 1e-9), 13)
    u, v, corners = u.cpu().numpy(), v.cpu().numpy(), corners.cpu().numpy()
    filled = ax.contourf(u, v, values, levels, norm=LogNorm(), cmap="Blues")
    ax.contour(u, v, values, levels, colors=COLOURS["theory"], linewidths=0.25)
    ax.plot(*corners[:2].T, color=COLOURS["wgan-gp"], linewidth=1)
    for place, name in zip(corners, names, strict=True):
        ax.plot(*place, "o", color=COLOURS["wgan-gp"], markersize=3.5)
        text = ax.annotate(name, place, xytext=(4, 4), textcoords="offset points", fontsize=9)
        text.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])
    ax.set_aspect("equal")
    bar = ax.figure.colorbar(filled, ax=ax, ticks=_round_levels(values.min(), values.max()), format="%g")
    bar.set_label("loss (log scale)")


def _round_levels(low: float, high: float) -> list[float]:
    """The numbers 1, 2, 5, 10, … between two positive ones."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    return [level for power in powers for level in (power, 2 * power, 5 * power) if low <= level <= high]
