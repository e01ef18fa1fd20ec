"""A plane of latent space: a cost in it as contours, paths in it or projected onto it, and the images along them."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from torch import Tensor

from helpers.show import figures

SIDE = 1.1  # of the picture of an end image, in units of the plane
PLANE, STRIPS = (0.08, 0.535, 0.81, 0.45), (0.2, 0.0, 0.78, 0.43)  # left, bottom, width, height in the figure


@dataclass(frozen=True)
class Route:
    """A path of codes as it is drawn in a plane. images: those at equal steps along it, where it gets dots."""

    name: str
    points: Tensor  # (T + 1, 2): coordinates in the plane, or those of the projections onto it
    images: Tensor  # (N, 1, 28, 28)
    colour: str
    outside: bool = False  # whether the path leaves the plane, so that its projection is drawn, with dashes


def draw(across: Tensor, up: Tensor, cost: Tensor, routes: Sequence[Route], ends: Sequence[Tensor]) -> Figure:
    """Contours of a cost (len(up), len(across)), the routes above them, and the images of each route in a row below.

    across, up: the coordinates of the cost's columns and rows. ends: the two end images, drawn beside the plane.
    """
    as_placed = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=False)  # "none" is lost in savefig
    fig = plt.figure(figsize=(figures.WIDTH, 4.2), layout=as_placed)
    plane, strips = fig.add_axes(PLANE), fig.add_axes(STRIPS)
    contours(plane, across, up, cost)
    for route in routes:
        draw_route(plane, route)
    draw_ends(plane, routes[0].points, ends)
    plane.set(xlabel="along $z_B - z_A$", ylabel="at right angles to it", aspect="equal")
    pictures = torch.cat([route.images for route in routes])
    figures.digits(strips, pictures, len(routes[0].images), [route.name for route in routes])
    for words, route in zip(strips.texts, routes, strict=False):
        words.set_color(figures.for_text(route.colour))
    return fig


def contours(ax: Axes, across: Tensor, up: Tensor, cost: Tensor) -> None:
    """Shades of grey and lines of equal cost, light where the cost is low, with a bar that names the shades."""
    x, y, values = (part.double().cpu().numpy() for part in (across, up, cost))
    low, high = values.min(), values.max()
    levels = np.linspace(low, max(high, low + 1e-6), 13)  # also of a cost that is the same everywhere
    shades = ax.contourf(x, y, values, levels, cmap="Greys", alpha=0.55)
    ax.contour(x, y, values, levels, colors=figures.COLOURS["data"], linewidths=0.4)
    bar = ax.figure.colorbar(shades, cax=ax.inset_axes([1.02, 0, 0.025, 1]), ticks=levels[::3], format="%.1f")
    bar.set_label("cost $c$ / lower bound")
    bar.outline.set_visible(False)


def draw_route(ax: Axes, route: Route) -> None:
    """The curve of a route, with a dot at each of its images."""
    points = route.points.cpu().numpy()
    ax.plot(*points.T, "--" if route.outside else "-", color=route.colour, linewidth=1.6, zorder=3)
    ax.plot(*points[steps(route)].T, "o", color=route.colour, markersize=3, zorder=4)


def steps(route: Route) -> list[int]:
    """The numbers of the points at which a route has images."""
    return np.linspace(0, len(route.points) - 1, len(route.images)).round().astype(int).tolist()


def draw_ends(ax: Axes, points: Tensor, ends: Sequence[Tensor]) -> None:
    """The end images (1, 28, 28) at the upper edge of the plane, above the ends of a route (T + 1, 2)."""
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    for number, end, letter, outward in ((0, ends[0], "A", -1), (-1, ends[1], "B", 1)):
        x, y = points[number].tolist()
        centre = min(max(x, left + SIDE / 2), right - SIDE / 2)
        extent = (centre - SIDE / 2, centre + SIDE / 2, top - SIDE, top)
        ax.imshow(
            np.kron(end.cpu().numpy().reshape(28, 28), np.ones((4, 4))), vmin=-1, vmax=1, extent=extent, zorder=2.5
        )
        write_beside(ax, x, y, f"$z_{letter}$", outward)
        write_beside(ax, centre - outward * SIDE / 2, top - SIDE / 2, f"$x_{letter}$", -outward)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def write_beside(ax: Axes, x: float, y: float, text: str, side: int) -> None:
    """Write to the left (side −1) or to the right (side 1) of a point."""
    where = {"textcoords": "offset points", "ha": "left" if side > 0 else "right", "va": "center"}
    ax.annotate(text, (x, y), (5 * side, 0), fontsize=8, **where)
