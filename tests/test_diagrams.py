"""The drawing of the echo: it is as large as it is printed, and its words can be read."""

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.axes import Axes

from helpers.show import diagrams, figures


@pytest.fixture
def ax() -> Axes:
    figures.use_style()
    fig, (ax,) = figures.panels(height=diagrams.SIZE[1])
    yield ax
    plt.close(fig)


def test_the_ring_and_the_doubling_lie_within_the_drawing_in_readable_words(ax: Axes) -> None:
    diagrams.echo_ring(ax, torch.rand(8, 1, 28, 28) * 2 - 1)
    assert ax.get_xlim() == (0, diagrams.SIZE[0]) and ax.get_ylim() == (0, diagrams.SIZE[1])
    assert len(ax.images) == 8 + 4 * 8  # on the ring, and in the four rows of blocks
    words = {text.get_text() for text in ax.texts}
    assert {"$x$", "$x_3$", "$s\\,s_1 s_2$", "1 image", "8 images"} <= words
    assert min(text.get_fontsize() for text in ax.texts) >= 8
    ax.figure.draw_without_rendering()
    frame = ax.figure.bbox
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def test_another_number_of_images_is_refused(ax: Axes) -> None:
    with pytest.raises(ValueError, match="eight images, not 7"):
        diagrams.echo_ring(ax, torch.zeros(7, 1, 28, 28))
