"""The same seed gives the same numbers: bit for bit on so many threads, within rounding on another number of them."""

from pathlib import Path

import pytest
import torch

from helpers import gan, vae
from helpers.geodesics import shortest_path
from helpers.inversion import invert
from helpers.networks import Generator

GAN = {"epochs": 2, "images": 512, "width": 16, "channels": 8, "latent_dim": 8, "scored": 100, "judge": {"channels": 4}}
GAN["judge"] |= {"epochs": 1, "images": 512}
VAE = {"betas": [0.1, 1.0], "epochs": 2, "images": 1024, "width": 64, "batch": 128, "latent": 8}


@pytest.fixture
def on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call a function on so many threads, with an empty store."""
    before = torch.get_num_threads()

    def call(function, threads: int, store: str):
        monkeypatch.setenv("MODELS", str(tmp_path / store))
        torch.set_num_threads(threads)
        return function()

    yield call
    torch.set_num_threads(before)


TRAININGS = {
    "gan": lambda: gan.train("same", "gan", **GAN),
    "wgan-gp": lambda: gan.train("same", "wgan-gp", **GAN),
    "gaussian": lambda: vae.train("same", noise="gaussian", **VAE),
    "echo": lambda: vae.train("same", noise="echo", **VAE),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_gives_the_same_bits_again(on_threads, name: str) -> None:
    one, two, other = (on_threads(TRAININGS[name], n, store) for n, store in ((2, "a"), (2, "b"), (1, "c")))
    assert one.record["sha256"] == two.record["sha256"] and one.record["history"] == two.record["history"]
    # a game's weights move with every rounding, its losses within two epochs hardly
    for key in one.record["history"][-1]:
        assert other.history(key)[-1] == pytest.approx(one.history(key)[-1], rel=0.05, abs=0.02), key


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(8, 64, 32).double().eval().requires_grad_(False)


def test_inversion_and_paths_depend_on_threads_by_rounding_alone(on_threads, generator: Generator) -> None:
    images = generator(torch.randn(2, 8, dtype=torch.float64))
    found = {}
    for threads, store in ((1, "one"), (2, "two"), (2, "again")):
        ends = on_threads(lambda: invert(generator, images, 4, seed=1, evaluations=40), threads, store)
        z = ends.best()
        solve = lambda z=z: shortest_path(generator, z[:1], z[1:], images[:1], images[1:], 17)  # noqa: E731
        path = on_threads(solve, threads, store)
        found[store] = ends.loss, path.energy, path.path
    for name, rounding in (("again", 0.0), ("one", 1e-6)):
        for value, other in zip(found["two"], found[name], strict=True):
            torch.testing.assert_close(other, value, rtol=rounding, atol=rounding)
