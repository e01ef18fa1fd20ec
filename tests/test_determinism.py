"""The same seed gives the same numbers: bit for bit on so many threads, within rounding on another number of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import beta_vae, gan
from helpers.inversion import invert
from helpers.networks import Generator
from helpers.paths import shortest_path

GAN = {"width": 16, "channels": 8, "latent_dim": 8, "batch_size": 64, "num_eval_samples": 0}
VAE = {"betas": (0.1, 1.0), "width": 64, "batch_size": 64, "latent_dim": 8}
TRAININGS = {
    "gan": lambda **size: gan.train(gan.GanConfig(**GAN, **size)),
    "wgan-gp": lambda **size: gan.train(replace(gan.WGAN_GP, **GAN, **size)),
    "gaussian": lambda **size: beta_vae.train(beta_vae.SweepConfig(**VAE, **size), "same"),
    "echo": lambda **size: beta_vae.train(beta_vae.SweepConfig(**VAE, **size, echo=beta_vae.EchoConfig()), "same"),
}


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


@pytest.mark.parametrize("train", TRAININGS.values(), ids=TRAININGS)
def test_a_training_gives_the_same_bits_again(on_threads, train) -> None:
    one, two = (on_threads(lambda: train(epochs=2, images=256), 2, store).record for store in ("a", "b"))
    assert one["sha256"] == two["sha256"] and one["history"] == two["history"]


@pytest.mark.parametrize("train", TRAININGS.values(), ids=TRAININGS)
def test_a_training_begins_with_the_same_losses_on_any_number_of_threads(on_threads, train) -> None:
    """One step: later ones may drift apart, as adversarial training enlarges every rounding."""
    one, two = (on_threads(lambda: train(epochs=1, images=64), n, str(n)).record["history"] for n in (1, 2))
    assert one[0] == pytest.approx(two[0], rel=1e-3, abs=1e-5)


def test_inversion_and_paths_depend_on_threads_by_rounding_alone(on_threads) -> None:
    generator = Generator(8, 16, 8).double().eval().requires_grad_(False)
    images = generator(torch.randn(2, 8, dtype=torch.float64))
    found = {}
    for threads, store in ((1, "one"), (2, "two"), (2, "again")):
        ends = on_threads(lambda: invert(generator, images, 4, seed=1, evaluations=20), threads, store)
        z = ends.best()
        solve = lambda z=z: shortest_path(generator, z[:1], z[1:], images[:1], images[1:], 9)  # noqa: E731
        path = on_threads(solve, threads, store)
        found[store] = ends.loss, path.energy, path.path
    for name, rounding in (("again", 0.0), ("one", 1e-6)):
        for value, other in zip(found["two"], found[name], strict=True):
            torch.testing.assert_close(other, value, rtol=rounding, atol=rounding)
