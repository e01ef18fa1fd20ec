"""Tables print numbers with the digits they deserve; a false claim stops the notebook; labels can be read."""

from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import figures, publish


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """What was displayed, as mime bundles."""
    outputs = []
    monkeypatch.setattr(publish, "publish_display_data", lambda data, metadata=None: outputs.append(data))
    return outputs


@pytest.mark.parametrize(
    ("formats", "errors", "row"),
    [
        (".3g", None, "| a | 1.23 | 1e+03 | **x\\|y** |"),
        ({"first": ".1f"}, None, "| a | 1.2 | 1e+03 | **x\\|y** |"),
        ({"a": "+.0%"}, None, "| a | +123% | +100000% | **x\\|y** |"),
        ("auto", [0.1, 20, np.nan], "| a | 1.23 ± 0.10 | 1000 ± 20 | **x\\|y** |"),
        (".3g ± .1g", [0.123, np.nan, np.nan], "| a | 1.23 ± 0.1 | 1e+03 | **x\\|y** |"),
    ],
)
def test_a_table_formats_numbers_and_keeps_strings(shown: list, formats, errors, row: str) -> None:
    frame = pd.DataFrame([[1.234, 1000.0, "**x|y**"], [np.nan] * 3], index=["a", ""], columns=["first", "2", "3"])
    publish.table(frame, "tab-x", "A caption.", formats, errors and pd.DataFrame([errors, [np.nan] * 3]))
    assert shown[0]["text/plain"] == f"|  | first | 2 | 3 |\n|:--|--:|--:|--:|\n{row}\n|  |  |  |  |"
    assert shown[0]["text/markdown"].endswith("\n\n*A caption.*")


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1.0, 1.2, 1.4], "1.20 ± 0.20"), ([100.0, 140.0], "120 ± 28"), ([0.5], "0.5"), ([3.0, 3.0], "3")],
)
def test_a_deviation_is_printed_to_its_second_digit(values: list[float], expected: str) -> None:
    assert publish.mean_std(values) == expected


def test_a_claim_is_prose_and_says_where_it_is_not_true(shown: list) -> None:
    publish.claim("One is less than two.", 1 < 2)
    publish.claim("Two is less than one.", 2 < 1)
    texts = [data["text/plain"] for data in shown]
    assert texts == ["One is less than two.", "✗ Not true in this run: Two is less than one.", "Two is less than one."]


def test_a_figure_survives_plain_tools_with_its_caption_below(shown: list) -> None:
    publish.figure(figures.panels()[0], "fig-x", "A caption.")
    assert {"image/png", "application/pdf"} <= shown[0].keys() and "*A caption.*" in shown[1]["text/markdown"]


def test_a_shown_source_keeps_the_first_line_of_each_docstring() -> None:
    code = 'class A:\n    """One.\n\n    More.\n    """\n\n    def f(self):\n        return """no\n        docstring"""'
    assert publish._brief(code) == code.replace("\n\n    More.\n    ", "")


@pytest.mark.parametrize("name", figures.COLOURS)
def test_a_label_has_a_contrast_of_four_and_a_half_on_white(name: str) -> None:
    text = figures.for_text(figures.COLOURS[name])
    assert 1.05 / (figures.luminance(np.array(text)) + 0.05) >= 4.5
    assert all(dark <= light for dark, light in zip(text, mpl.colors.to_rgb(figures.COLOURS[name]), strict=True))


def test_luminance_is_that_of_the_standard() -> None:
    assert figures.luminance(np.ones(3)) == pytest.approx(1)
    assert figures.luminance(np.full(3, 0x77 / 255)) == pytest.approx(0.1845, abs=1e-4)


def test_names_of_curves_stand_at_their_right_ends_and_do_not_overlap() -> None:
    fig, (ax,) = figures.panels()
    for height in (1.0, 1.001, 1.002, 5.0):
        ax.plot([2, 1], [height, 0], label=f"curve {height}")
    ax.plot([0, 3], [0, 0])  # without a label
    figures.label_curves(ax)
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 4 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(text.xy[0] == 2 for text in ax.texts)
    plt.close(fig)
