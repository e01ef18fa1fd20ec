"""The explorers: a control changes the picture, and the frames are the models' own."""

import io
import re

import numpy as np
import pytest
import torch
from ipywidgets import Checkbox
from PIL import Image
from test_films import Ends
from test_strips import ink, sheets, shown, texts  # noqa: F401
from torch import nn

from helpers.evaluation import Classifier
from helpers.networks import ConvGenerator
from helpers.show import explorers


@pytest.fixture
def generator() -> nn.Module:
    return ConvGenerator(8, 32, 8).eval().requires_grad_(False)


def picture(explorer: explorers.LatentExplorer) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(explorer.picture.value)))


def test_a_direction_moves_the_code_from_the_sample_chosen(generator: nn.Module) -> None:
    explorer = explorers.LatentExplorer(generator, count=3)
    samples, before = sheets(explorer.samples.value), picture(explorer)
    assert len(samples) == len(explorer.sample.options) == 16 and (before == samples[0]).all()
    z = torch.randn(16, 8, generator=torch.Generator().manual_seed(0))
    explorer.sample.value = 5
    assert (picture(explorer) == samples[5]).all()
    explorer.steps[1].value = 2.0
    expected = generator((z[5] + 2.0 * explorers.principal_directions(generator, z[5], 3)[0][1])[None])
    assert (picture(explorer) == ink(expected[0, 0])).all() and (before != picture(explorer)).any()
    explorer.sample.value = 6
    assert (picture(explorer) == samples[6]).all() and [slider.value for slider in explorer.steps] == [0, 0, 0]


def test_new_samples_begin_again(generator: nn.Module) -> None:
    explorer = explorers.LatentExplorer(generator)
    samples = sheets(explorer.samples.value)
    for _ in range(2):  # from another sample, and from the first
        explorer.new_samples.click()
        others = sheets(explorer.samples.value)
        assert (others[0] != samples[0]).any() and (picture(explorer) == others[0]).all()
        assert explorer.sample.value == 0 and not any(slider.value for slider in explorer.steps)
        samples = others


def test_a_generator_may_have_fewer_directions_than_sliders() -> None:
    explorer = explorers.LatentExplorer(ConvGenerator(4, 32, 4).eval().requires_grad_(False))
    before = picture(explorer)
    explorer.steps[3].value = 3.0
    assert len(explorer.steps) == 4 and (picture(explorer) != before).any()


def test_a_saved_latent_explorer_shows_its_first_sample_along_each_direction(generator: nn.Module, shown: list) -> None:  # noqa: F811
    explorer = explorers.LatentExplorer(generator, count=2, limit=3.0)
    first, second = sheets(explorer.saved)
    explorer.steps[1].value = -3.0
    assert len(texts(explorer.saved)[0]) == 13 and (second[:28] == picture(explorer)).all()
    assert (first[6 * 28 : 7 * 28] == second[6 * 28 : 7 * 28]).all() and (first[-28:] != second[-28:]).any()
    explorer._ipython_display_()
    (film, _), (widget, _) = shown
    assert film["text/html"] == explorer.saved and "application/vnd.jupyter.widget-view+json" in widget


def test_principal_directions_change_the_image_most(generator: nn.Module) -> None:
    z = torch.randn(8)
    directions, rates = explorers.principal_directions(generator, z, 8)
    assert torch.allclose(directions @ directions.T, torch.eye(8), atol=1e-5)
    changes = (generator(z + 1e-3 * directions) - generator(z[None])).flatten(1).norm(dim=1)
    assert changes[0] == changes.max() and changes[-1] == changes.min()
    assert torch.allclose(changes / 1e-3, rates, rtol=0.05)


def test_inversion_explorer_shows_descents_and_certified_minima(generator: nn.Module) -> None:
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    explorer = explorers.InversionExplorer({"GAN": generator}, images, {"GAN": Ends}, 0)
    (descents,), (minima,) = sheets(explorer.descent_strips.html), sheets(explorer.minima_strips.html)
    (steps,), (facts,) = texts(explorer.descent_strips.html), texts(explorer.minima_strips.html)
    ends = torch.cat(list(generator(Ends.z[0])[:, 0]), 1)
    assert (descents[-28:] == ink(ends)).all() and steps[-1] == "end points"
    assert facts[0].startswith("1 of 2: smooth minimum") and "loss 1.00" in facts[0] and "kink minimum" in facts[1]
    assert (minima[:28, :28] == ink(images[0, 0])).all()
    assert (minima[:28, 28:56] == ink(generator(Ends.z[0, 1:2])[0, 0])).all()
    assert (minima[28:, 28:56] == ink(generator(Ends.z[0, :1])[0, 0])).all()
    assert explorer.descent_strips.html.count("data-places") == 3 and texts(explorer.saved) == [steps, facts]
    said = []
    explorer.status.observe(lambda change: said.append(change.new), "value")
    explorer.digit.value = 1
    assert texts(explorer.minima_strips.html) == [["no end point is certified"]]
    assert explorer.minima_player.slider.max == 0 and "seconds" in said[0] and said[-1] == ""


def test_inversion_explorer_says_what_failed(generator: nn.Module) -> None:
    models = {"GAN": generator, "broken": nn.Identity()}
    explorer = explorers.InversionExplorer(models, torch.zeros(2, 1, 28, 28), dict.fromkeys(models, Ends), 0)
    explorer.model.value = "broken"
    assert "This failed" in explorer.status.value


@pytest.fixture
def two_pairs(generator: nn.Module) -> tuple:
    x = torch.rand(2, 2, 1, 28, 28) * 2 - 1
    routes = {kind: torch.randn(2, 5, 8) for kind in ("straight line", "slerp", "minimiser of $U$", "pullback")}
    load = {"GAN": generator, "other": generator, "broken": nn.Identity()}
    return explorers.PathExplorer(list(load), load.get, Classifier(4).eval(), *x, {"GAN": routes}), routes


def test_path_explorer_shows_the_frames_of_a_known_pair_both_ways(two_pairs: tuple, generator: nn.Module) -> None:
    explorer, routes = two_pairs
    assert [label for label, _ in explorer.kind.options][2] == "minimiser of U"
    places = set()
    for kind, path in routes.items():
        explorer.kind.value = kind
        for ends, way in (((1, 3), path[1]), ((3, 1), path[1].flip(0))):
            explorer.from_menu.value, explorer.to_menu.value = ends
            assert (sheets(explorer.strips.html)[1].reshape(5, 28, 28) == ink(generator(way)[:, 0])).all()
        assert texts(explorer.strips.html)[0][2].startswith("t = 0.50")
        places.add(tuple(re.findall(r'data-places="([^"]+)"', explorer.strips.html)))
    assert len(places) == 4 and all(len(of_path) == 4 for of_path in places)


def test_path_explorer_begins_in_the_middle_of_a_path_and_its_film_stands_for_it(two_pairs: tuple) -> None:
    explorer, _ = two_pairs
    assert explorer.strips.frame == explorer.player.slider.value == 2 and explorer.strips.html in explorer.saved


def test_a_control_that_a_subclass_adds_is_there_when_its_first_film_is_drawn(generator: nn.Module) -> None:
    class Reversible(explorers.PathExplorer):
        def build_controls(self, to: int) -> None:
            super().build_controls(to)
            self.backwards = Checkbox(True)
            self.controls.children += (self.backwards,)

        def routes(self) -> dict[str, torch.Tensor]:
            return {kind: path.flip(0) if self.backwards.value else path for kind, path in super().routes().items()}

    x = torch.rand(2, 1, 1, 28, 28) * 2 - 1
    path = torch.randn(1, 5, 8)
    explorer = Reversible(["GAN"], {"GAN": generator}.get, Classifier(4).eval(), *x, {"GAN": {"slerp": path}})
    assert (sheets(explorer.strips.html)[1].reshape(5, 28, 28) == ink(generator(path[0].flip(0))[:, 0])).all()


def test_path_explorer_computes_an_unknown_pair_and_says_what_failed(two_pairs: tuple, monkeypatch) -> None:
    explorer, _ = two_pairs
    monkeypatch.setattr(explorers, "POINTS", 5)
    explorer.model.value = "other"
    explorer.from_menu.value = explorer.to_menu.value = 2
    explorer.compute.click()
    assert "two different images" in explorer.status.value and explorer.strips.html == ""
    explorer.to_menu.value = 0
    assert "press the button" in explorer.status.value
    said = []
    explorer.status.observe(lambda change: said.append(change.new), "value")
    explorer.compute.click()
    assert "Computing" in said[0] and said[-1] == "" and texts(explorer.strips.html)[0][-1].startswith("t = 1.00")
    explorer.from_menu.value = 1
    explorer.from_menu.value, explorer.to_menu.value = 0, 2
    explorer.kind.value = "pullback"
    assert texts(explorer.strips.html), "the way back is known, too"
    explorer.model.value = "broken"
    explorer.compute.click()
    assert "This failed" in explorer.status.value and explorer.strips.html == ""
