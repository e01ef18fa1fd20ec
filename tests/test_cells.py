"""Cells of tables: rounded as they are printed."""

import math

import pandas as pd
import pytest
import torch

from helpers.show import cells


def test_median_and_quartiles():
    assert cells.median_and_quartiles(pd.Series([1.0, 2.0, 3.0, 4.0, 15.0])) == "3 (2 to 4)"


def test_a_share_has_its_wilson_interval():
    assert cells.share_with_interval(torch.arange(96) < 51) == "53% (43% to 63%)"  # Wilson 1927, by hand
    assert cells.share_with_interval(torch.zeros(96, dtype=torch.bool)) == "0% (0% to 4%)"


@pytest.mark.parametrize(
    ("value", "words"),
    [(4.88, "4.9"), (0.0142, "0.014"), (2.947e-9, "$2.9 \\cdot 10^{-9}$"), (-3e-5, "$-3.0 \\cdot 10^{-5}$")],
)
def test_small_numbers_have_an_exponent(value, words):
    assert cells.scientific(value) == words and cells.scientific(math.inf) == cells.scientific(math.nan) == ""
