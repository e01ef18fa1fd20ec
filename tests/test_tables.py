"""Columns of tables that more than one notebook prints."""

from dataclasses import replace

from helpers import gan
from helpers.show import tables


def test_a_column_of_settings_names_loss_penalty_and_steps():
    column = tables.gan_settings(replace(gan.WGAN_GP, critic_steps=5), 3)
    assert (column["loss"], column["penalty"]) == ("Wasserstein", "$\\lambda = 10$")
    assert (column["critic steps per generator step"], column["seeds"]) == ("5", "3")


def test_penalties_in_words():
    assert tables.penalty(gan.BEST) == "R1, $\\gamma = 0.1$, every 8 steps"
    assert tables.penalty(gan.GanConfig()) == "none"
