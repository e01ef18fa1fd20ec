"""The explorers: a move of a slider changes the picture, and the frames are the paths' own."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import widgets
from helpers.networks import Generator


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def follow(explorer) -> None:
    """Do what the browser does: carry each link's source to its target."""
    for link in explorer.links:
        (source, name), (target, attribute) = link.source, link.target
        setattr(target, attribute, getattr(source, name))


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(8, 32, 8).eval().requires_grad_(False)


@pytest.fixture
def explorer():
    frames = {kind: torch.rand(5, 1, 28, 28) * 2 - 1 for kind in ("straight", "least U")}
    return widgets.path_explorer(frames, -torch.ones(1, 28, 28), torch.ones(1, 28, 28)), frames


def test_png_is_the_image_with_dark_ink():
    image = torch.linspace(-1, 1, 784).reshape(1, 28, 28)
    shown = pixels(widgets.png(image))
    assert shown.shape == (28 * widgets.ZOOM, 28 * widgets.ZOOM)
    assert shown[0, 0] == 255 and shown[-1, -1] == 0
    assert np.abs(shown[:: widgets.ZOOM, :: widgets.ZOOM] / 127.5 - 1 + image[0].numpy()).max() < 0.01


def test_slider_shows_the_frame_of_every_path(explorer):
    explorer, frames = explorer
    assert (explorer.slider.min, explorer.slider.max) == (0, 4)
    assert explorer.slider.continuous_update and explorer.slider.description
    for index in (3, 0, 4):
        explorer.play.value = index
        follow(explorer)
        for kind, stack in explorer.stacks.items():
            assert stack.selected_index == explorer.slider.value == index
            assert stack.children[stack.selected_index].value == widgets.png(frames[kind][index])


def test_each_stack_is_linked_in_the_browser(explorer):
    explorer, _ = explorer
    targets = [link.target for link in explorer.links if link.source == (explorer.slider, "value")]
    assert targets == [(stack, "selected_index") for stack in explorer.stacks.values()]
    assert all(type(link).__name__ == "Link" for link in explorer.links)


def test_ends_stand_beside_the_paths(explorer):
    explorer, _ = explorer
    columns = explorer.children[0].children
    assert [column.children[0].value for column in columns] == ["from", "straight", "least U", "to"]
    assert pixels(columns[0].children[1].value).min() == 255 and pixels(columns[-1].children[1].value).max() == 0


def test_paths_of_different_length_are_refused():
    frames = {"a": torch.zeros(3, 1, 28, 28), "b": torch.zeros(4, 1, 28, 28)}
    with pytest.raises(ValueError, match="frames"):
        widgets.path_explorer(frames, torch.zeros(1, 28, 28), torch.zeros(1, 28, 28))


def test_latent_slider_changes_the_picture(generator):
    explorer = widgets.latent_explorer(generator, count=3)
    before = explorer.picture.value
    explorer.sliders[1].value = 2.0
    assert explorer.picture.value != before
    expected = generator((explorer.z + 2.0 * explorer.directions[1])[None])[0]
    assert explorer.picture.value == widgets.png(expected)
    explorer.sliders[1].value = 0.0
    assert explorer.picture.value == before


def test_new_sample_changes_code_and_resets_sliders(generator):
    explorer = widgets.latent_explorer(generator, count=2)
    explorer.sliders[0].value = 1.5
    z, picture = explorer.z, explorer.picture.value
    explorer.button.click()
    assert not torch.equal(explorer.z, z) and explorer.picture.value != picture
    assert [slider.value for slider in explorer.sliders] == [0.0, 0.0]
    assert explorer.picture.value == widgets.png(generator(explorer.z[None])[0])
    moved = explorer.picture.value
    explorer.sliders[0].value = 1.5
    assert explorer.picture.value != moved


def test_principal_directions_change_the_image_most(generator):
    z = torch.randn(8)
    directions = widgets.principal_directions(generator, z, 8)
    assert torch.allclose(directions @ directions.T, torch.eye(8), atol=1e-5)
    step = 1e-3
    changes = (generator(z + step * directions) - generator(z[None])).flatten(1).norm(dim=1)
    assert changes[0] == changes.max() and changes[-1] == changes.min()


@pytest.mark.parametrize("count", [0, 9])
def test_too_many_directions_are_refused(generator, count):
    with pytest.raises(ValueError, match="count"):
        widgets.latent_explorer(generator, count=count)
