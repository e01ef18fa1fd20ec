"""Columns of tables that more than one notebook prints."""

from dataclasses import replace

import pandas as pd
import pytest

from helpers import gan
from helpers.show import tables


def test_a_column_of_settings_names_loss_penalty_and_steps():
    column = tables.gan_settings(replace(gan.WGAN_GP, critic_steps=5), 3)
    assert (column["loss"], column["penalty"]) == ("Wasserstein", "$\\lambda = 10$")
    assert (column["steps of $D$ for each of $G$"], column["seeds"]) == ("5", "3")


def test_penalties_in_words():
    assert tables.penalty(gan.BEST) == "R1, $\\gamma = 0.1$, every 8 steps"
    assert tables.penalty(gan.GanConfig()) == "none"


def test_the_best_cells_of_a_table_are_bold_and_arrows_say_what_is_better():
    columns = {"a": ["1.5 ± 0.1", "-3%"], "b": ["0.50", "+2%"], "real": ["0.1", "9%"]}
    table = pd.DataFrame(columns, index=["distance", "change"])
    shown = tables.best_in_bold(table, {"distance": "lower", "change": "higher"}, ["a", "b"])
    assert shown.loc["distance ↓"].tolist() == ["1.5 ± 0.1", "**0.50**", "0.1"]
    assert shown.loc["change ↑"].tolist() == ["-3%", "**+2%**", "9%"]
    assert table.loc["change", "b"] == "+2%" and "distance" in tables.best_in_bold(table, {}, ["a"]).index
    with pytest.raises(KeyError):
        tables.best_in_bold(table, {"absent": "lower"}, ["a", "b"])
