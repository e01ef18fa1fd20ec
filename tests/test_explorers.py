"""The explorers: a control changes the picture, and the frames are the models' own."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_strips import ink, names, sheets
from torch import nn

from helpers import beta_vae, inversion
from helpers.evaluation import Classifier
from helpers.networks import Generator
from helpers.show import explorers


@pytest.fixture
def generator() -> nn.Module:
    return Generator(8, 32, 8).eval().requires_grad_(False)


def pixels(*images: torch.Tensor) -> np.ndarray:
    """Digits side by side as a film shows them."""
    return ink(torch.cat([image.reshape(28, 28) for image in images], 1))


def test_a_direction_moves_the_code_from_the_sample_chosen(generator: nn.Module) -> None:
    explorer = explorers.latent_explorer(generator, count=3)
    samples, before = sheets(explorer.controls), sheets(explorer.films)[0]
    assert len(samples) == 16 and (before == samples[0]).all()
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    explorer.values = explorer.values | {"Sample": 5, "Direction 2": 2.0}
    expected = generator((z[5] + 2.0 * explorers.principal_directions(generator, z[5], 3)[0][1])[None])
    assert (sheets(explorer.films)[0] == pixels(expected)).all() and (before != pixels(expected)).any()
    explorer._handle_custom_msg("press", [])
    others = sheets(explorer.controls)
    assert (others[0] != samples[0]).any() and (sheets(explorer.films)[0] == others[0]).all()
    assert set(explorer.values.values()) == {0}


def test_principal_directions_change_the_image_most(generator: nn.Module) -> None:
    z = torch.randn(8)
    directions, rates = explorers.principal_directions(generator, z, 8)
    assert torch.allclose(directions @ directions.T, torch.eye(8), atol=1e-5)
    changes = (generator(z + 1e-3 * directions) - generator(z[None])).flatten(1).norm(dim=1)
    assert changes[0] == changes.max() and changes[-1] == changes.min()
    assert torch.allclose(changes / 1e-3, rates, rtol=0.05)


def test_at_a_beta_that_a_sweep_lacks_its_nearest_is_shown_and_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path))
    tiny = beta_vae.SweepConfig((0.1, 1.0, 10.0), epochs=1, images=256, width=8, batch_size=128, latent_dim=4)
    echo = replace(tiny, betas=(0.1, 1.0), echo=beta_vae.EchoConfig())
    sweeps = {"gaussian": beta_vae.train(tiny, "tiny"), "echo": beta_vae.train(echo, "tiny-echo")}
    betas, members, pictures, words = explorers.beta_frames(sweeps, beta_vae.pixels("test")[:256])
    assert betas == [0.1, 1.0, 10.0] and members == {"gaussian": [0, 1, 2], "echo": [0, 1, 1]}
    assert pictures["gaussian"].shape == pictures["echo"].shape == (3, 4, explorers.COLUMNS, 28, 28)
    assert (pictures["echo"][1] == pictures["echo"][2]).all() and (pictures["echo"][0] != pictures["echo"][1]).any()
    assert "Gaussian: β = 10," in words[2] and "echo: nearest β = 1," in words[2] and "nearest" not in words[1]
    _, ((_, rates, *_), _) = explorers.beta_curves(sweeps, members)
    assert rates.tolist() == sweeps["gaussian"].modules["scores"].rate.tolist()


class Ends(SimpleNamespace):
    """Two digits, three starts; of the second digit nothing is certified."""

    z = torch.randn(2, 3, 8)
    loss = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    kind = torch.tensor([[1.0, 0.0, 2.0], [3.0, 3.0, 2.0]])
    kinks, residual = torch.ones(2, 3), torch.full((2, 3), 1e-9)


def test_descents_are_those_of_the_inversion(generator: nn.Module) -> None:
    x, start = torch.zeros(1, 28, 28), torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(5))[0]
    decoded, losses, steps = explorers.descents(generator, x, Ends.z[0], 5)
    assert len(decoded) == len(losses) == len(steps) and steps[1] == "gradient descent, step 8"
    assert torch.equal(decoded[0], generator(start)) and torch.equal(decoded[-1], generator(Ends.z[0]))
    landed = inversion.gradient_descent(generator, x.flatten().expand(3, -1), start, explorers.STEPS)
    assert torch.equal(decoded[explorers.STEPS // explorers.EVERY], generator(landed))


def test_inversion_explorer_shows_descents_and_certified_minima(generator: nn.Module) -> None:
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    explorer = explorers.inversion_explorer({"GAN": generator}, images, {"GAN": Ends}, 0)
    (descents, minima), (steps, facts) = sheets(explorer.films), names(explorer.films)
    assert (descents[-28:] == pixels(*generator(Ends.z[0]))).all() and steps[-1] == "end points"
    assert facts[0].startswith("1 of 2: smooth minimum") and "loss 1.00" in facts[0] and "kink minimum" in facts[1]
    assert (minima[:28, :56] == pixels(images[0], generator(Ends.z[0, 1:2]))).all()
    assert (minima[28:, 28:56] == pixels(generator(Ends.z[0, :1]))).all() and explorer.films.count("data-places") == 3
    explorer.values = {"Model": 0, "Digit": 1}
    assert names(explorer.films)[1] == ["no end point is certified"]


@pytest.fixture
def two_pairs(generator: nn.Module) -> tuple:
    x = torch.rand(2, 2, 1, 28, 28) * 2 - 1
    routes = {kind: torch.randn(2, 5, 8) for kind in ("straight line", "slerp", "minimiser of $U$", "pullback")}
    load = {"GAN": generator, "other": generator, "broken": nn.Identity()}
    return explorers.path_explorer(list(load), load.get, Classifier(4).eval(), *x, {"GAN": routes}), routes


def test_path_explorer_shows_the_frames_of_a_known_pair_both_ways(two_pairs: tuple, generator: nn.Module) -> None:
    explorer, routes = two_pairs
    assert "minimiser of U" in explorer.controls and "$" not in explorer.controls
    places = set()
    for k, path in enumerate(routes.values()):
        for ends, shown in (((1, 3), path[1]), ((3, 1), path[1].flip(0))):
            explorer.values = explorer.values | {"Path": k, "From": ends[0], "To": ends[1]}
            assert (sheets(explorer.films)[1].reshape(5, 28, 28) == ink(generator(shown)[:, 0])).all()
        assert names(explorer.films)[0][2].startswith("t = 0.50")
        places.add(tuple(re.findall(r'data-places="([^"]+)"', explorer.films)))
    assert len(places) == 4 and all(len(of_path) == 3 for of_path in places)


def test_path_explorer_computes_an_unknown_pair_and_says_what_failed(two_pairs: tuple, monkeypatch) -> None:
    explorer, _ = two_pairs
    monkeypatch.setattr(explorers, "POINTS", 5)
    explorer.values = explorer.values | {"Model": 1, "From": 2, "To": 2}
    explorer._handle_custom_msg("press", [])
    assert "two different images" in explorer.films
    explorer.values = explorer.values | {"To": 0}
    assert "press the button" in explorer.films
    said = []
    explorer.observe(lambda change: said.append(change.new), "films")
    explorer._handle_custom_msg("press", [])
    assert "Computing" in said[0] and names(explorer.films)[0][-1].startswith("t = 1.00")
    explorer.values = explorer.values | {"From": 0, "To": 2, "Path": 3}
    assert names(explorer.films), "the way back is known, too"
    explorer.values = explorer.values | {"Model": 2}
    explorer._handle_custom_msg("press", [])
    assert "failed" in explorer.films
