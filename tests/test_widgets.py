"""The explorers: a move of a slider changes the picture, a click the code, and the frames are the paths' own."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from helpers import beta_vae, frames, inversion_viewer, path_explorer, widgets
from helpers.beta_explorer import COLUMNS, beta_explorer, beta_frames
from helpers.evaluation import Classifier
from helpers.inversion import gradient_descent
from helpers.latent_explorer import GRID, latent_explorer, principal_directions, walks
from helpers.networks import Generator


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def seen(widget: frames.Frames) -> np.ndarray:
    """The pixels that the browser shows: of the sheet's frames the slider's."""
    sheet = np.frombuffer(widget.sheet, np.uint8).reshape(-1, widget.columns)
    return sheet.reshape(widget.count, -1, widget.columns)[min(widget.frame, widget.count - 1)]


def ink(*images: torch.Tensor) -> np.ndarray:
    """Digits (1, 28, 28) side by side, as the browser ought to show them."""
    return ((1 - torch.cat(images, 2)[0].float().clamp(-1, 1)) * 127.5).round().numpy().astype(np.uint8)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(8, 32, 8).eval().requires_grad_(False)


def test_a_slider_flips_through_the_images_of_a_sheet():
    images = torch.rand(3, 4, 1, 28, 28) * 2 - 1
    slider = widgets.frame_slider(3)
    shown = frames.digits(2, 2, zoom=3, slider=slider)
    shown.show(images, columns=2)
    assert shown.size == (168, 168) and shown.count == 3
    for number in (0, 2, 1):
        slider.value = number
        assert (seen(shown)[:28] == ink(images[number, 0], images[number, 1])).all()
        assert (seen(shown)[28:] == ink(images[number, 2], images[number, 3])).all()


def test_ink_is_dark_and_stays_in_its_range():
    shown = frames.digits()
    shown.show(torch.linspace(-2, 2, 784).reshape(28, 28))
    assert seen(shown)[0, 0] == 255 and seen(shown)[-1, -1] == 0 and shown.frame == 0


def test_points_move_over_a_figure_that_stays():
    fig, (ax,) = frames.figure(1, 2.0, 1.0)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    shown = frames.chart(2.0, 1.0)
    shown.plot(fig, [(ax, [0.2, 0.8, 0.8], [0.5, 0.5, np.nan], "#ff0000")])
    assert pixels(shown.sheet).shape == (200, 400, 3) and shown.count == 1
    (left,), (right,), nowhere = shown.dots
    assert not nowhere and left[2] == right[2] == "#ff0000" and left[1] == right[1]
    place = ax.transAxes.transform((0.8, 0.5)) - [right[0], 200 - right[1]]
    assert np.abs(place).max() < 0.1 and right[0] - left[0] > 100


def test_thumbnails_are_buttons_that_tell_their_number():
    clicked = []
    grid = widgets.thumbnails(torch.zeros(5, 1, 28, 28), list("abcde"), clicked.append, columns=3)
    grid.buttons[3].click()
    assert clicked == [3] and [len(row.children) for row in grid.children[1:]] == [3, 2]
    for number in (3, 1):
        grid.mark(number)
        assert [k for k, button in enumerate(grid.buttons) if "ink-chosen" in button._dom_classes] == [number]


def test_side_by_side_shows_the_frame_of_every_path():
    images = {kind: torch.rand(5, 1, 28, 28) * 2 - 1 for kind in ("straight", "least U")}
    explorer = path_explorer.side_by_side(images, -torch.ones(1, 28, 28), torch.ones(1, 28, 28))
    assert (explorer.slider.min, explorer.slider.max) == (0, 4)
    assert explorer.slider.continuous_update and explorer.slider.description
    assert explorer.slider.link.source == (explorer.play, "value")
    explorer.slider.value, explorer.play.playing = 2, True
    assert explorer.play.value == 2, "it plays from where the slider stands"
    for index in (3, 0, 4):
        explorer.slider.value = index
        for shown, path in zip(explorer.pictures[1:-1], images.values(), strict=True):
            assert (seen(shown) == ink(path[index])).all()
    assert seen(explorer.pictures[0]).min() == 255 and seen(explorer.pictures[-1]).max() == 0


def test_paths_of_different_length_are_refused():
    images = {"a": torch.zeros(3, 1, 28, 28), "b": torch.zeros(4, 1, 28, 28)}
    with pytest.raises(ValueError, match="frames"):
        path_explorer.side_by_side(images, torch.zeros(1, 28, 28), torch.zeros(1, 28, 28))


@pytest.fixture
def paths_of_pairs(generator):
    x = torch.rand(2, 2, 1, 28, 28) * 2 - 1
    routes = {"straight line": torch.randn(2, 5, 8), "great arc": torch.randn(2, 5, 8)}
    routes |= {"least $U$": torch.randn(2, 5, 8), "pullback": torch.randn(2, 5, 8)}
    judge = Classifier(4).eval()
    return path_explorer.PathExplorer(
        {"GAN": generator, "other": lambda: generator}, judge, *x, {"GAN": routes}
    ), routes


def test_path_explorer_shows_image_place_and_words_of_a_known_pair(paths_of_pairs, generator):
    explorer, routes = paths_of_pairs
    places = []
    for kind, path in routes.items():
        explorer.kind.value = kind.replace("$", "")
        for index in (2, 4):
            explorer.slider.value = index
            assert (seen(explorer.picture) == ink(generator(path[1])[index])).all()
            assert explorer.words.words[explorer.words.frame].startswith(f"t = {index / 4:.2f}")
            places.append(tuple(explorer.chart.dots[index]))
    assert len(set(places)) == len(places)
    explorer.pair.reverse()
    explorer.slider.value = 0
    explorer.select()
    assert (seen(explorer.picture) == ink(generator(path[1].flip(0))[0])).all(), "the way back is known, too"


def test_path_explorer_computes_an_unknown_pair_in_a_thread(paths_of_pairs, monkeypatch):
    explorer, _ = paths_of_pairs
    monkeypatch.setattr(path_explorer, "ITERATIONS", 2)
    monkeypatch.setattr(path_explorer, "COARSE", 5)
    assert explorer.button.disabled and not explorer.slider.disabled
    explorer.model.value = "other"
    explorer.grids[0].buttons[2].click()
    assert explorer.slider.disabled and not explorer.button.disabled and explorer.words.words == ["Not computed yet."]
    explorer.button.click()
    explorer.thread.join(60)
    assert explorer.button.disabled and not explorer.slider.disabled and explorer.progress.value == 4
    shown = []
    for kind in explorer.kind.options:
        explorer.kind.value = kind
        explorer.slider.value = 3
        shown.append(explorer.picture.sheet)
    assert explorer.words.words[3].startswith("t = 0.75") and len(set(shown)) > 1


def test_path_explorer_says_what_failed_and_goes_on(paths_of_pairs):
    explorer, _ = paths_of_pairs
    explorer.generators["other"] = nn.Identity()
    explorer.model.value = "other"
    explorer.button.click()
    explorer.thread.join(60)
    assert explorer.status.value.startswith("Failed") and not explorer.button.disabled
    explorer.model.value = "GAN"
    assert not explorer.slider.disabled


def test_path_explorer_asks_for_two_different_images(paths_of_pairs):
    explorer, _ = paths_of_pairs
    explorer.grids[0].buttons[explorer.pair[1]].click()
    assert explorer.button.disabled and "different" in explorer.words.words[0]


def test_latent_slider_changes_the_picture(generator):
    explorer = latent_explorer(generator, count=3)
    before = explorer.picture.sheet
    explorer.sliders[1].value = 2.0
    assert explorer.picture.sheet != before
    expected = generator((explorer.z + 2.0 * explorer.directions[1])[None])[0]
    assert (seen(explorer.picture) == ink(expected)).all()
    explorer.sliders[1].value = 0.0
    assert explorer.picture.sheet == before


@pytest.mark.parametrize("how", ["button", "grid"])
def test_another_code_resets_the_sliders(generator, how):
    explorer = latent_explorer(generator, count=2)
    explorer.sliders[0].value = 1.5
    z, shown = explorer.z, explorer.picture.sheet
    (explorer.button if how == "button" else explorer.grid.buttons[GRID - 1]).click()
    assert not torch.equal(explorer.z, z) and explorer.picture.sheet != shown
    assert [slider.value for slider in explorer.sliders] == [0.0, 0.0]
    assert (seen(explorer.picture) == ink(generator(explorer.z[None])[0])).all()
    moved = explorer.picture.sheet
    explorer.sliders[0].value = 1.5
    assert explorer.picture.sheet != moved


def test_principal_directions_change_the_image_most(generator):
    z = torch.randn(8)
    directions, rates = principal_directions(generator, z, 8)
    assert torch.allclose(directions @ directions.T, torch.eye(8), atol=1e-5)
    step = 1e-3
    changes = (generator(z + step * directions) - generator(z[None])).flatten(1).norm(dim=1)
    assert changes[0] == changes.max() and changes[-1] == changes.min()
    assert torch.allclose(changes / step, rates, rtol=0.05)


def test_walks_pass_through_their_codes_along_the_directions(generator):
    z = torch.randn(2, 8)
    images = walks(generator, z, 3, torch.linspace(-1, 1, 5))
    assert images.shape == (5, 2, 3, 28, 28)
    assert torch.allclose(images[2], generator(z).expand(2, 3, 28, 28), atol=1e-5)
    moved = generator(z[1] + principal_directions(generator, z[1], 3)[0]).squeeze(1)
    assert torch.allclose(images[4, 1], moved, atol=1e-5)


@pytest.mark.parametrize("count", [0, 9])
def test_too_many_directions_are_refused(generator, count):
    with pytest.raises(ValueError, match="count"):
        latent_explorer(generator, count=count)


@pytest.fixture
def sweeps(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    tiny = {"epochs": 1, "images": 256, "width": 8, "batch_size": 128, "latent_dim": 4}
    betas = {"gaussian": (0.1, 1.0, 10.0), "echo": (0.1, 1.0)}
    noises = {"gaussian": None, "echo": beta_vae.EchoConfig()}
    configs = {noise: beta_vae.SweepConfig(betas[noise], echo, **tiny) for noise, echo in noises.items()}
    return {noise: beta_vae.train(config, f"tiny-{noise}") for noise, config in configs.items()}


def test_beta_slider_moves_both_sweeps_and_says_where_one_has_no_such_beta(sweeps):
    walk = beta_frames(sweeps, beta_vae.pixels("test")[:256])
    explorer = beta_explorer(sweeps, walk)
    assert walk.betas == [0.1, 1.0, 10.0] and walk.members == {"gaussian": [0, 1, 2], "echo": [0, 1, 1]}
    pictures = []
    for index in range(3):
        explorer.slider.value = index
        pictures.append(np.hsplit(seen(explorer.picture), 2))
    left, right = zip(*pictures, strict=True)
    assert left[0].shape == right[0].shape == (4 * 28, COLUMNS * 28)
    assert explorer.chart.dots[0] != explorer.chart.dots[1] != explorer.chart.dots[2]
    assert (left[0] != left[1]).any() and (left[1] != left[2]).any()
    assert (right[0] != right[1]).any() and (right[1] == right[2]).all()
    assert "Gaussian: β = 10," in explorer.words.words[2] and "echo: nearest β = 1," in explorer.words.words[2]


def test_beta_explorer_needs_networks(sweeps):
    del sweeps["echo"].modules["autoencoders"]
    with pytest.raises(ValueError, match="networks"):
        beta_frames(sweeps, beta_vae.pixels("test")[:256])


def test_descent_is_recorded_as_it_runs(generator):
    x, start = torch.zeros(1, 28, 28), torch.randn(2, 8)
    codes, names = inversion_viewer.descent(generator, x, start, start)
    assert len(codes) == len(names) and torch.equal(codes[0], start) and names[1] == "gradient descent, step 8"
    landed = gradient_descent(generator, x.flatten().expand(2, -1), start, inversion_viewer.STEPS)
    assert torch.equal(codes[inversion_viewer.STEPS // inversion_viewer.EVERY], landed)


class Ends:
    """Two digits, three starts; of the second digit nothing is proved."""

    z = torch.randn(2, 3, 8)
    loss = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    kind = torch.tensor([[1.0, 0.0, 2.0], [3.0, 3.0, 2.0]])
    kinks, residual = torch.ones(2, 3), torch.full((2, 3), 1e-9)


def test_inversion_viewer_shows_starts_and_minima(generator):
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    viewer = inversion_viewer.InversionViewer({"GAN": generator}, images, {"GAN": Ends}, restarts=2)
    viewer.slider.value = viewer.slider.max
    assert (seen(viewer.pictures) == ink(*generator(Ends.z[0, :2]))).all()
    assert viewer.chart.dots[0] != viewer.chart.dots[-1]
    assert viewer.words.words[0].startswith("gradient descent, step 0") and "end points" in viewer.words.words[-1]
    best, second = viewer.minimum.words
    assert best.startswith("1 of 2: smooth minimum") and "1.00" in best and second.startswith("2 of 2: kink minimum")
    assert viewer.which.max == 1 and (seen(viewer.minimum)[:, 28:56] == ink(generator(Ends.z[0, 1:2])[0])).all()
    viewer.which.value = 1
    assert (seen(viewer.minimum)[:, 28:56] == ink(generator(Ends.z[0, :1])[0])).all()
    viewer.grid.buttons[1].click()
    assert viewer.which.max == 0 and viewer.minimum.words == ["None is proved."]
