"""Tables print numbers with the digits they deserve; a claim that fails stops the notebook."""

import numpy as np
import pandas as pd
import pytest

from helpers import publish


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
        ({"first": ".2f"}, None, "| a | 1.23 | 1e+03 | **x\\|y** |"),
        ({"a": "+.0%"}, None, "| a | +123% | +100000% | **x\\|y** |"),
        ("auto", [0.1, 20, np.nan], "| a | 1.23 ± 0.10 | 1000 ± 20 | **x\\|y** |"),
        (".3g ± .1g", [0.123, np.nan, np.nan], "| a | 1.23 ± 0.1 | 1e+03 | **x\\|y** |"),
    ],
)
def test_a_table_formats_numbers_and_keeps_strings(shown: list, formats, errors, row: str) -> None:
    frame = pd.DataFrame([[1.234, 1000.0, "**x|y**"], [np.nan] * 3], index=["a", ""], columns=["first", "2", "3"])
    errors = errors and pd.DataFrame([errors, [np.nan] * 3])
    publish.table(frame, "tab-x", "A caption.", formats, errors)
    head, rule, *rows = shown[0]["text/plain"].splitlines()
    assert (head, rule) == ("|  | first | 2 | 3 |", "|:--|--:|--:|--:|") and rows == [row, "|  |  |  |  |"]
    assert shown[0]["text/markdown"].endswith("\n\n*A caption.*")


def test_mean_and_deviation_to_the_deviation_s_second_digit() -> None:
    assert publish.mean_std([1.0, 1.2, 1.4]) == "1.20 ± 0.20" and publish.mean_std([3.14159]) == "3.14"


def test_a_claim_is_prose_where_it_holds_and_an_error_where_it_does_not(shown: list) -> None:
    publish.claim("One is less than two.", 1 < 2)
    assert shown[0]["text/markdown"] == "One is less than two."
    with pytest.raises(AssertionError, match="Two is less"):
        publish.claim("Two is less than one.", 2 < 1)
