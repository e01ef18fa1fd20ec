"""The block diagram of path-aware training: three kinds of codes go into one generator, three losses come out."""

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from helpers.show.figures import COLOURS, for_text

ROWS = (3.5, 2.1, 0.7)  # heights of the three rows: samples, reconstructions, images between two codes
SIDE = 0.9  # of a thumbnail
ROLES = ("gan", "gaussian", "path-aware")  # their colours


def training_diagram(ax: Axes, real: Tensor, sample: Tensor, reconstruction: Tensor, between: Tensor) -> None:
    """Draw the diagram on axes of about 6.3 × 2.1 inches.

    real: two images (2, 1, 28, 28), the first of which is reconstructed; the others: one image (1, 28, 28) each.
    """
    ax.set(xlim=(0, 12.6), ylim=(0, 4.2), aspect="equal")
    ax.set_axis_off()
    _box(ax, 5.6, 0.3, 0.9, 3.7, "$G$", "black")
    _sources(ax, real)
    for y, image, role in zip(ROWS, (sample, reconstruction, between), ROLES, strict=True):
        _arrow(ax, (6.5, y), (7.1, y), role)
        _thumbnail(ax, image, 7.1, y)
        _arrow(ax, (8.05, y), (8.7, y), role)
    _losses(ax)


def _sources(ax: Axes, real: Tensor) -> None:
    """The left half: where the codes come from."""
    words = (r"$z \sim \mathcal{N}(0, I)$", "$e$", r"$(1-t)\,e_A + t\,e_B$")
    for y, text, role in zip(ROWS, words, ROLES, strict=True):
        ax.text(4.2, y + 0.12, text, ha="center", va="bottom", fontsize=9, color=for_text(COLOURS[role]))
        _arrow(ax, (2.9, y), (5.6, y), role)
    _box(ax, 1.9, 0.3, 0.9, 2.2, "$F$", "black")
    ax.text(2.35, ROWS[0], "prior", ha="center", va="center", fontsize=9)
    for y, images in ((ROWS[1], real[:1]), (ROWS[2], real)):
        for place, image in enumerate(images):
            _thumbnail(ax, image, 0.75 * place, y)
        right = SIDE + 0.75 * (len(images) - 1)
        _arrow(ax, (right, y), (1.9, y), "theory")


def _losses(ax: Axes) -> None:
    """The right half: what each kind of image is used for."""
    words = (
        "$L_{gen}$: $D$ takes the sample\nfor a real image",
        "$L_{inv}$: the image is reproduced,\nfrom a short code",
        "$L_{path}$: the image between two\ncodes is close to both images",
    )
    for y, text, role in zip(ROWS, words, ROLES, strict=True):
        ax.text(8.8, y, text, va="center", fontsize=9, color=for_text(COLOURS[role]))


def _box(ax: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    style = "round,pad=0,rounding_size=0.12"
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor="#F2F2F2", edgecolor=colour))
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=11)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], role: str) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": COLOURS[role], "shrinkA": 1, "shrinkB": 1})


def _thumbnail(ax: Axes, image: Tensor, x: float, y: float) -> None:
    """An image (1, 28, 28) whose left edge is at x and whose middle is at height y, with sharp pixels."""
    pixels = torch.kron(image.detach().cpu().reshape(28, 28).float(), torch.ones(4, 4)).numpy()
    extent = (x, x + SIDE, y - SIDE / 2, y + SIDE / 2)
    ax.imshow(pixels, vmin=-1, vmax=1, extent=extent, zorder=2)
    ax.set(xlim=(0, 12.6), ylim=(0, 4.2))
