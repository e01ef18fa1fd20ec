"""Cells of tables: numbers as text, where one format for a whole table does not do."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from torch import Tensor


def median_and_quartiles(values: pd.Series) -> str:
    """'median (lower to upper quartile)', two digits each."""
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:.2g} ({low:.2g} to {high:.2g})"


def share_with_interval(successes: Tensor) -> str:
    """The share of True in a tensor (N,), with its 95% Wilson interval."""
    low, high = binomtest(int(successes.sum()), len(successes)).proportion_ci(method="wilson")
    return f"{successes.double().mean():.0%} ({low:.0%} to {high:.0%})"


def scientific(value: float) -> str:
    """Two digits, small numbers as a · 10ᵇ; nothing for inf and NaN."""
    if not np.isfinite(value):
        return ""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{value:.2g}" if abs(value) > 1e-3 else f"${mantissa} \\cdot 10^{{{int(exponent)}}}$"
