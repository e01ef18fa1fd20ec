"""Rows and columns of tables that more than one notebook prints, or that would drown a notebook's idea."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from helpers.gan import GanConfig

ARROWS = {"lower": "↓", "higher": "↑"}


def best_in_bold(frame: pd.DataFrame, better: Mapping[str, str], among: Sequence[str]) -> pd.DataFrame:
    """A table in which the best cell of some rows is bold; those compared are strings that begin with numbers.

    better: "lower" or "higher" for these rows, whose names get an arrow. among: the columns that are compared.
    """
    shown = frame.astype(object)
    for row, direction in better.items():
        numbers = frame.loc[row, list(among)].map(lambda cell: float(re.match(r"[+-]?[\d.]+", cell)[0]))
        best = numbers.idxmin() if direction == "lower" else numbers.idxmax()
        shown.loc[row, best] = f"**{shown.loc[row, best]}**"
    return shown.rename(index={row: f"{row} {ARROWS[direction]}" for row, direction in better.items()})


def gan_settings(config: GanConfig, trainings: int) -> dict[str, str]:
    """A column of the table of settings: the name and the value of each, for a model with so many trainings."""
    return {
        "generator": f"{config.channels} channels",
        "discriminator": {"mlp": "fully connected", "conv": "convolutional"}[config.critic],
        "loss": {"gan": "non-saturating", "saturating": "saturating", "wgan": "Wasserstein"}[config.loss],
        "penalty": penalty(config),
        "Adam's $\\beta$": "({:g}, {:g})".format(*config.betas),
        "learning rate": f"{config.learning_rate:g}",
        "batch size": f"{config.batch_size}",
        "epochs": f"{config.epochs}",
        "steps of $D$ for each of $G$": f"{config.critic_steps}",
        "seeds": f"{trainings}",
    }


def penalty(config: GanConfig) -> str:
    """The critic's penalty and its weight, in words for a table."""
    if config.r1_weight:
        often = f", every {config.r1_every} steps" if config.r1_every > 1 else ""
        return f"R1, $\\gamma = {config.r1_weight:g}${often}"
    return f"$\\lambda = {config.penalty_weight:g}$" if config.penalty_weight else "none"
