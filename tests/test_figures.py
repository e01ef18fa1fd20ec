"""Labels of figures can be read: dark enough on white, none upon another."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

from helpers.show import figures


@pytest.mark.parametrize("name", figures.COLOURS)
def test_a_label_has_a_contrast_of_four_and_a_half_on_white(name: str) -> None:
    text = figures.for_text(figures.COLOURS[name])
    assert 1.05 / (figures.luminance(np.array(text)) + 0.05) >= 4.5
    assert all(dark <= light for dark, light in zip(text, mpl.colors.to_rgb(figures.COLOURS[name]), strict=True))


def test_luminance_is_that_of_the_standard() -> None:
    assert figures.luminance(np.ones(3)) == pytest.approx(1)
    assert figures.luminance(np.full(3, 0x77 / 255)) == pytest.approx(0.1845, abs=1e-4)


def test_names_of_curves_stand_at_their_right_ends_and_do_not_overlap() -> None:
    _, (ax,) = figures.panels()
    for height in (1.0, 1.001, 1.002, 5.0):
        ax.plot([2, 1], [height, 0], label=f"curve {height}")
    ax.plot([0, 3], [0, 0])  # without a label
    figures.label_curves(ax)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 4 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(text.xy[0] == 2 for text in ax.texts)
