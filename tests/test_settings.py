"""Numbers out of their range are refused in one sentence, before anything is trained or written."""

import math

import pytest
import torch

from helpers import vae
from helpers.echo import echo_sample

WRONG = {"epochs": [-1, 0, 1.5, "two", None], "batch": [0, -8], "images": [0, 2.5], "width": [0], "seed": [-1, "x"]}
TRAININGS = {
    "vae": (
        lambda **settings: vae.train("refused", **{"betas": [1.0]} | settings),
        {"betas": [[], [-1.0], [math.nan], ["a"], 3.0], "latent": [0], "warm_up": [-0.1]},
    ),
}
CASES = [
    (train, key, value)
    for train, own in TRAININGS.values()
    for key, values in (WRONG | own).items()
    for value in values
]


@pytest.mark.parametrize("train, key, value", CASES)
def test_a_training_refuses_a_setting_without_sense(train, key, value, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    with pytest.raises(ValueError, match=f"{key.replace('betas', '(betas|β)')} must be .* not"):
        train(**{key: value})
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("depth", [0, -1, 9, 2.5, "deep"])
def test_an_echo_refuses_a_depth_beyond_its_batch(depth):
    with pytest.raises(ValueError, match="depth must be an integer from 1 to the batch size 8"):
        echo_sample(torch.randn(8, 3), torch.rand(8, 3), depth)
