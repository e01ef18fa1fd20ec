"""Path costs of several runs, each done on several plain models, compared with these models."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from scipy import stats

from helpers.path_costs import PathCosts, log_changes
from helpers.show import publish

PLAIN = "plain model"


class Comparison:
    """What minimal paths cost after several runs, relative to the plain models that the runs began with.

    runs: for each run its PathCosts on each of the plain models, in one order; the entry PLAIN holds those of the
    plain models themselves. penalty, below: the place of the inversion's μ in the protocol.
    """

    def __init__(self, runs: Mapping[str, Sequence[PathCosts]]):
        self.runs = dict(runs)

    def changes(self, name: str, quantity: str, penalty: int = 0) -> np.ndarray:
        """Change of ln U ("energy"), ln ρ ("rho") or ln ‖z_A − z_B‖² ("distance") for each plain model, pairs' mean."""
        both = zip(self.runs[name], self.runs[PLAIN], strict=False)  # some runs were done on the first models only
        return np.array([log_changes(run, plain)[quantity][penalty].item() for run, plain in both])

    def means(self, name: str, quantity: str, penalty: int = 0) -> list[float]:
        """The mean over the pairs of a quantity of PathCosts, for each plain model."""
        return [getattr(run, quantity)[penalty].mean().item() for run in self.runs[name]]

    def frechet(self, name: str) -> np.ndarray:
        """The Fréchet distance after a run, for each plain model."""
        return np.array([run.frechet for run in self.runs[name]])

    def frechet_changes(self, name: str) -> np.ndarray:
        """Change of the logarithm of the Fréchet distance from each plain model."""
        return np.log(self.frechet(name) / self.frechet(PLAIN)[: len(self.runs[name])])

    def energy(self, name: str, penalty: int = 0) -> str:
        """U of the plain models, or its change by a run, for a table."""
        if name == PLAIN:
            return publish.mean_std(self.means(name, "energy", penalty))
        return interval(self.changes(name, "energy", penalty))

    def table(self, penalty: int = 0) -> pd.DataFrame:
        """A row for each run: U, ρ, squared distance and norm of the codes, inversion error and Fréchet distance."""
        columns = {
            r"$\rho$": "rho",
            r"$\lVert z_A - z_B\rVert^2$": "distance",
            r"$\lVert z\rVert$": "norm",
            "inversion error": "error",
        }
        rows = {}
        for name in self.runs:
            row = {"$U$": self.energy(name, penalty)}
            for title, quantity in columns.items():
                row[title] = publish.mean_std(self.means(name, quantity, penalty))
            rows[name] = row | {"Fréchet distance": publish.mean_std(self.frechet(name))}
        return pd.DataFrame(rows).T


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """95% t-interval of the mean; both ends are the mean if there is one value, or if all are equal."""
    if np.ptp(values) == 0:
        return values[0], values[0]
    return stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))


def interval(logarithms: np.ndarray, form: str = ".0%") -> str:
    """Changes of a logarithm: their mean as a change in per cent, with the 95% t-interval if there are several."""
    mean = f"{np.expm1(np.mean(logarithms)):+{form}}"
    if len(logarithms) == 1:
        return mean
    low, high = t_interval(logarithms)
    return f"{mean} ({np.expm1(low):+{form}} to {np.expm1(high):+{form}})"


def percent(logarithms: float | np.ndarray) -> str:
    """The mean change of a logarithm in per cent: "−43%"."""
    return f"{np.expm1(np.mean(logarithms)):+.0%}".replace("-", "−")


def amount(logarithms: float | np.ndarray) -> str:
    """By how much something rises or falls, as a sentence says it: the mean change in per cent without its sign."""
    return f"{abs(np.expm1(np.mean(logarithms))):.0%}"


def fallen(logarithms: np.ndarray, form: str = ".0%") -> str:
    """By how much something falls, with the 95% t-interval: "43% (37% to 49%)"; a rise is negative."""
    low, high = t_interval(logarithms)
    ends = f"{0.0 - np.expm1(high):{form}} to {0.0 - np.expm1(low):{form}}"
    return f"{0.0 - np.expm1(np.mean(logarithms)):{form}} ({ends})".replace("-", "−")


def rise(logarithms: np.ndarray, form: str = ".0%") -> str:
    """By how much something rises, with the 95% t-interval: "6% (-9% to +22%)"; a fall is negative."""
    return interval(logarithms, form).removeprefix("+")


def percent_axis(axis: Axis, logarithms: Sequence[float]) -> None:
    """Label an axis of logarithms' changes in per cent."""
    axis.set_ticks(logarithms, [percent(value).replace("+0%", "0%") for value in logarithms])
