"""Tables print numbers with the digits they deserve; claims say where they fail; figures and sources can be shown."""

import numpy as np
import pandas as pd
import pytest

from helpers.show import figures, publish


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """What was displayed: mime bundles, each with the report's metadata under "facts"."""
    outputs = []

    def display(data: dict, metadata: dict | None = None) -> None:
        outputs.append(data | {"facts": (metadata or {}).get("report")})

    monkeypatch.setattr(publish, "publish_display_data", display)
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
    assert [data["facts"]["kind"] for data in shown] == ["prose", "refuted", "prose"]


def test_a_number_outside_its_interval_stops_the_notebook(shown: list) -> None:
    publish.check_interval("a half", 0.5, 0, 0.634)
    assert shown[0]["text/plain"] == "✓ a half: computed 0.5, in [0, 0.634]"
    for value in (-0.1, 0.7, np.nan):
        with pytest.raises(AssertionError, match="check failed: a half: computed"):
            publish.check_interval("a half", value, 0, 0.634)


def test_a_figure_survives_plain_tools_with_its_caption_below(shown: list) -> None:
    publish.figure(figures.panels()[0], "fig-x", "A caption.")
    assert {"image/png", "application/pdf"} <= shown[0].keys() and "*A caption.*" in shown[1]["text/markdown"]


def test_a_shown_source_keeps_the_first_line_of_each_docstring() -> None:
    code = 'class A:\n    """One.\n\n    More.\n    """\n\n    def f(self):\n        return """no\n        docstring"""'
    assert publish._brief(code) == code.replace("\n\n    More.\n    ", "")
