"""Runs compared with their plain models: changes, intervals, rows of tables."""

import math

import numpy as np
import pytest
import torch

from helpers.path_costs import PathCosts
from helpers.show.comparison import PLAIN, Comparison, amount, fallen, interval, percent, rise, t_interval


def costs(energy: float, distance: float, frechet: float) -> PathCosts:
    """For two penalties and three pairs whose images have ½‖x_A − x_B‖² = 1, so that U = ρ ‖z_A − z_B‖²."""
    pairs = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).expand(2, 3)
    rest = {name: pairs for name in ("rho_line", "norm", "error")}
    return PathCosts(
        energy=energy * pairs,
        rho=energy / distance * torch.ones_like(pairs),
        distance=distance * pairs,
        frechet=frechet,
        record={},
        **rest,
    )


RUNS = Comparison({PLAIN: [costs(2.0, 2.0, 0.4), costs(3.0, 2.0, 0.5)], "run": [costs(1.0, 1.0, 0.8)]})


def test_changes_are_those_of_logarithms_and_add_up():
    assert RUNS.changes("run", "energy").tolist() == pytest.approx([-math.log(2)])
    assert RUNS.changes("run", "distance").tolist() == pytest.approx([-math.log(2)])
    assert RUNS.changes("run", "rho").tolist() == pytest.approx([0.0])
    assert RUNS.changes(PLAIN, "energy").tolist() == [0.0, 0.0]
    assert RUNS.frechet_changes("run").tolist() == pytest.approx([math.log(2)])


def test_means_are_over_the_pairs_of_each_model():
    assert RUNS.means(PLAIN, "energy", 1) == pytest.approx([14 / 3, 7.0])


def test_the_table_gives_the_energy_of_the_plain_models_and_the_change_by_a_run():
    table = RUNS.table()
    assert table.loc[PLAIN, "$U$"] == "5.8 ± 1.6"
    assert table.loc["run", "$U$"] == "-50%"  # of one model
    assert table.loc["run", "Fréchet distance"] == "0.8"


def test_the_interval_is_student_s():
    low, high = t_interval(np.array([-0.1, 0.0, 0.1]))
    assert high == -low == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert interval(np.log([1.1, 1.1])) == "+10% (+10% to +10%)"
    assert percent(np.log([0.5, 0.5])) == "−50%"


def test_a_sentence_says_how_much_something_falls_or_rises():
    assert amount(np.log([0.5, 0.5])) == "50%" and amount(np.log([1.1])) == "10%"
    assert fallen(np.log([0.6, 0.6])) == "40% (40% to 40%)"
    assert rise(np.log([1.4, 1.4])) == "40% (+40% to +40%)" and rise(np.log([0.6])) == "-40%"
    assert fallen(np.array([-0.1, 0.0, 0.1])).startswith("0% (−28% to 2")  # e^(±0.248): 28 % up, 22 % down
