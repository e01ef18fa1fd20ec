"""The same seed gives the same numbers: bit for bit on so many threads, within rounding on another number of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers import beta_vae, gan
from helpers.inversion import invert
from helpers.networks import Generator
from helpers.paths import shortest_path

GAN = {"width": 16, "channels": 8, "latent_dim": 8, "batch_size": 64, "num_eval_samples": 0, "epochs": 1}
VAE = beta_vae.SweepConfig((0.1, 1.0), width=64, batch_size=64, latent_dim=8, epochs=1)
ECHO = replace(VAE, echo=beta_vae.EchoConfig())
TRAININGS = {
    "gan": lambda images: gan.train(gan.GanConfig(**GAN, images=images)),
    "wgan-gp": lambda images: gan.train(replace(gan.WGAN_GP, **GAN, images=images)),
    "gaussian": lambda images: beta_vae.train(replace(VAE, images=images), "same"),
    "echo": lambda images: beta_vae.train(replace(ECHO, images=images), "same"),
}


@pytest.fixture
def on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call a function on so many threads, with an empty store each time."""
    before = torch.get_num_threads()

    def call(threads: int, function, *arguments):
        monkeypatch.setenv("MODELS", str(tmp_path / f"models-{len(list(tmp_path.iterdir()))}"))
        torch.set_num_threads(threads)
        return function(*arguments)

    yield call
    torch.set_num_threads(before)


@pytest.mark.parametrize("train", TRAININGS.values(), ids=TRAININGS)
def test_a_training_gives_the_same_bits_again_and_begins_alike_on_other_threads(on_threads, train) -> None:
    one, two = (on_threads(2, train, 512).record for _ in range(2))
    assert one["sha256"] == two["sha256"] and one["history"] == two["history"]
    # the losses of a first step; later ones may drift apart, as adversarial training enlarges every rounding
    alone, shared = (on_threads(threads, train, 64).record["history"] for threads in (1, 2))
    assert alone[0] == pytest.approx(shared[0], rel=1e-3, abs=1e-5)


def test_inversion_and_paths_depend_on_threads_by_rounding_alone(on_threads) -> None:
    generator = Generator(8, 16, 8).double().eval().requires_grad_(False)
    images = generator(torch.randn(2, 8, dtype=torch.float64))

    def results() -> tuple[torch.Tensor, ...]:
        found = invert(generator, images, 4, seed=1, evaluations=20)
        z = found.best()
        path = shortest_path(generator, z[:1], z[1:], images[:1], images[1:], 9)
        return found.loss, path.energy, path.path

    one, two, again = (on_threads(threads, results) for threads in (1, 2, 2))
    assert all(map(torch.equal, two, again))
    for value, other in zip(one, two, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-6)
