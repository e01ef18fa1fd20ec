"""The same seed gives the same bits on so many threads, and a first step that agrees on another number of them."""

from dataclasses import replace

import pytest
import torch

from helpers import beta_vae, gan

SIZES = {"width": 16, "latent_dim": 8, "batch_size": 64, "epochs": 1}
GAN = SIZES | {"channels": 8, "num_eval_samples": 0}
VAE = beta_vae.SweepConfig((0.1, 1.0), **SIZES)
TRAININGS = {
    "gan": lambda images: gan.train(gan.GanConfig(**GAN, images=images)),
    "saturating": lambda images: gan.train(gan.GanConfig(loss="saturating", **GAN, images=images)),
    "wgan-gp": lambda images: gan.train(replace(gan.WGAN_GP, **GAN, images=images)),
    "best": lambda images: gan.train(replace(gan.CONFIGS["best"], **GAN, images=images)),
    "gaussian": lambda images: beta_vae.train_sweep(replace(VAE, images=images), "same"),
    "echo": lambda images: beta_vae.train_sweep(replace(VAE, images=images, echo=beta_vae.EchoConfig()), "same"),
}


@pytest.mark.parametrize("train", TRAININGS.values(), ids=TRAININGS)
def test_a_training_gives_the_same_bits_again_and_begins_alike_on_other_threads(train, tmp_path, monkeypatch) -> None:
    records = []
    for run, (threads, images) in enumerate([(2, 512), (2, 512), (2, 64), (1, 64)]):
        monkeypatch.setenv("MODELS", str(tmp_path / str(run)))
        torch.set_num_threads(threads)  # the last time 1, as in all tests
        records.append(train(images).record)
    one, two, shared, alone = records
    assert one["sha256"] == two["sha256"] and one["history"] == two["history"]
    # the losses of a first step; later ones may drift apart, as adversarial training enlarges every rounding
    assert alone["history"][0] == pytest.approx(shared["history"][0], rel=1e-3, abs=1e-5)
