"""Labels in the colour of their curve can be read, in greyscale as well."""

import matplotlib as mpl
import numpy as np
import pytest

from helpers.figures import COLOURS, _luminance, for_text


@pytest.mark.parametrize("name", COLOURS)
def test_a_label_has_a_contrast_of_four_and_a_half_on_white(name: str) -> None:
    text = for_text(COLOURS[name])
    assert 1.05 / (_luminance(np.array(text)) + 0.05) >= 4.5
    assert all(dark <= light for dark, light in zip(text, mpl.colors.to_rgb(COLOURS[name]), strict=True))


def test_luminance_is_that_of_the_standard() -> None:
    assert _luminance(np.ones(3)) == pytest.approx(1)
    assert _luminance(np.full(3, 0x77 / 255)) == pytest.approx(0.1845, abs=1e-4)
