"""The drawing of chapter 3: an echo as a chain along a ring of images, and chains joined by doubling."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from helpers.show.figures import COLOURS, for_text

SIZE = (6.3, 2.75)  # inches that the axes of `echo_ring` stand for
CENTRE, RADIUS, SIDE = (1.4, 1.24), 0.9, 0.42  # of the ring; side of its images
NAMES = ("$x$", "$x_1$", "$x_2$", "$x_3$")
WEIGHTS = ("$s$", "$s\\,s_1$", "$s\\,s_1 s_2$")
FADING = 0.6  # the strength of an image relative to that of the image before it
LEFT, STEP = 3.72, 0.32  # left edge and width of the columns on the right
ROWS = (2.05, 1.47, 0.89, 0.31)  # heights of the rows of blocks of 1, 2, 4 and 8 images


def echo_ring(ax: Axes, images: Tensor) -> None:
    """Draw the echo of the first of eight images (8, 1, 28, 28) in [−1, 1], on axes of about 6.3 × 2.75 inches.

    (a) The chain along the ring of images, with the weights of the first three terms. (b) Chains of 1, 2, 4 and 8
    images, each joined from two of half its length. The images fade with their weights.
    """
    if len(images) != 8:
        raise ValueError(f"the ring has eight images, not {len(images)}.")
    ax.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]), aspect="equal")
    ax.set_axis_off()
    _ring(ax, images)
    _doubling(ax, images)
    ax.text(CENTRE[0], SIZE[1], "(a) the echo of $x$: a chain along the ring", ha="center", va="top", fontsize=9)
    middle = LEFT + 4 * STEP
    ax.text(middle, SIZE[1], "(b) doubling: two chains make one", ha="center", va="top", fontsize=9)
    ax.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]))  # again, as images change the limits


def _ring(ax: Axes, images: Tensor) -> None:
    for place, image in enumerate(images):
        _picture(ax, image, _on_ring(place), SIDE, _strength(place))
    for place in range(len(images) - 1):  # a chain ends before it returns to its own image
        _arrow_to_next(ax, place)
    for place, name in enumerate(NAMES):
        ax.text(*_on_ring(place, RADIUS + 0.35 + 0.06 * (place % 2)), name, ha="center", va="center", fontsize=10)
    for place, weight in enumerate(WEIGHTS):
        inside = _on_ring(place + 0.5, RADIUS - 0.22 - 0.05 * place)  # longer words, further from the arrow
        ax.text(*inside, weight, ha="center", va="center", fontsize=9, color=for_text(COLOURS["echo"]))


def _on_ring(place: float, radius: float = RADIUS) -> tuple[float, float]:
    """The point of a circle about the ring's centre: place 0 is at the top, place 2 on the right."""
    angle = math.pi / 4 * place
    return CENTRE[0] + radius * math.sin(angle), CENTRE[1] + radius * math.cos(angle)


def _strength(place: int) -> float:
    return max(0.15, FADING**place)


def _arrow_to_next(ax: Axes, place: int) -> None:
    look = {"arrowstyle": "-|>", "color": COLOURS["echo"], "alpha": _strength(place), "shrinkA": 0, "shrinkB": 0}
    gap = 0.33  # of the way, in which the images lie
    ax.annotate("", _on_ring(place + 1 - gap), _on_ring(place + gap), arrowprops=look)


def _picture(ax: Axes, image: Tensor, centre: tuple[float, float], side: float, strength: float) -> None:
    """An image (1, 28, 28) with sharp pixels, in a frame, both as pale as its strength in [0, 1] says."""
    pixels = np.kron(image.detach().cpu().reshape(28, 28).float().numpy(), np.ones((4, 4)))
    left, bottom = centre[0] - side / 2, centre[1] - side / 2
    ax.imshow(pixels, vmin=-1, vmax=1, extent=(left, left + side, bottom, bottom + side), alpha=strength)
    frame = Rectangle((left, bottom), side, side, fill=False, edgecolor=COLOURS["data"], linewidth=0.6, alpha=strength)
    ax.add_patch(frame)


def _doubling(ax: Axes, images: Tensor) -> None:
    for level, y in enumerate(ROWS):
        length = 2**level
        unit = "image" if length == 1 else "images"
        ax.text(LEFT - 0.12, y, f"{length} {unit}", ha="right", va="center", fontsize=9)
        for start in range(0, 8, length):
            _block(ax, images, start, length, y)
            if level > 0:
                _join(ax, start, length, y)


def _block(ax: Axes, images: Tensor, start: int, length: int, y: float) -> None:
    """A chain of so many images that begins at column `start`; that of x itself has a thicker frame."""
    for place in range(length):
        column = start + place
        _picture(ax, images[column], (LEFT + (column + 0.5) * STEP, y), STEP - 0.06, _strength(place))
    corner = (LEFT + start * STEP + 0.01, y - STEP / 2 + 0.01)
    width = 1.6 if start == 0 else 0.7
    size = (length * STEP - 0.02, STEP - 0.02)
    ax.add_patch(Rectangle(corner, *size, fill=False, edgecolor=COLOURS["echo"], linewidth=width))


def _join(ax: Axes, start: int, length: int, y: float) -> None:
    """Lines from the middles of two chains to that of the chain below that they make."""
    middle = LEFT + (start + length / 2) * STEP
    top, bottom = y + 0.58 - STEP / 2, y + STEP / 2
    for shift in (-length / 4, length / 4):
        ax.plot([middle + shift * STEP, middle], [top, bottom], color=COLOURS["data"], linewidth=0.7)
