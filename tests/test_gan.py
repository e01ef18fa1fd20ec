"""The adversarial losses, the penalty, the networks, and the training loop at a tiny size."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers import gan, metrics
from helpers.models import load_generator
from helpers.networks import Critic, Generator, MLPGenerator

TINY = {"epochs": 2, "images": 256, "batch": 64, "channels": 8, "width": 32}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))


def test_losses_are_the_binary_cross_entropies():
    real, fake = torch.randn(50), torch.randn(50)
    ones, zeros = torch.ones(50), torch.zeros(50)
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(gan.discriminator_loss(real, fake), bce(real, ones) + bce(fake, zeros))
    torch.testing.assert_close(gan.generator_loss(fake), bce(fake, ones))
    assert gan.discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))


def test_loss_gradients_saturate_as_derived():
    logit = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(gan.generator_loss(logit) * len(logit), logit)
    torch.testing.assert_close(gradient, logit.detach().sigmoid() - 1)


def test_critic_loss_falls_when_real_scores_rise():
    assert gan.critic_loss(torch.tensor([3.0]), torch.tensor([1.0])) == -2


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0])
def test_penalty_of_a_linear_critic(length):
    w = F.normalize(torch.randn(784, dtype=torch.float64), dim=0) * length
    real, fake = torch.randn(2, 16, 1, 28, 28, dtype=torch.float64)
    penalty = gan.gradient_penalty(lambda x: x.flatten(1) @ w, real, fake)
    assert penalty.item() == pytest.approx((length - 1) ** 2, abs=2e-6)


def test_penalty_has_finite_gradient_where_the_slope_is_zero():
    w = torch.zeros(784, requires_grad=True)
    gan.gradient_penalty(lambda x: x.flatten(1) @ w, *torch.randn(2, 4, 1, 28, 28)).backward()
    assert torch.isfinite(w.grad).all()


def test_penalty_points_lie_on_the_segments():
    seen = []
    real, fake = torch.ones(1000, 1, 2, 2), -torch.ones(1000, 1, 2, 2)

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    gan.gradient_penalty(critic, real, fake)
    share = (seen[0][:, 0, 0, 0] + 1) / 2
    assert (seen[0] == seen[0][:, :, :1, :1]).all()  # one ε per image, not per pixel
    assert 0 <= share.min() and share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / 1000) ** 0.5)


def test_penalty_gradient_in_the_weights():
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 3, 6, dtype=torch.float64)

    def penalty(w):
        seeded = torch.Generator().manual_seed(0)
        return gan.gradient_penalty(lambda x: (x @ w).tanh() * 3, real, fake, seeded)

    assert torch.autograd.gradcheck(penalty, (w,))


def test_penalty_refuses_other_shapes():
    with pytest.raises(ValueError, match="same shape"):
        gan.gradient_penalty(Critic(), torch.zeros(4, 1, 28, 28), torch.zeros(3, 1, 28, 28))


@pytest.mark.parametrize(
    "network", [Generator(), *(MLPGenerator(start=start) for start in ("default", "he", "batchnorm"))]
)
def test_generators_map_codes_to_images(network):
    images = network.eval()(torch.randn(5, network.latent_dim))
    assert images.shape == (5, 1, 28, 28) and images.abs().max() <= 1


def test_he_initialisation_keeps_the_code_and_the_default_loses_it():
    z = torch.randn(500, 64)
    spread = {start: MLPGenerator(start=start)(z).std(0).mean().item() for start in ("default", "he")}
    assert spread["he"] > 10 * spread["default"]


@pytest.mark.parametrize("loss", ["gan", "wgan-gp"])
def test_training_runs_and_repeats(loss, tmp_path, monkeypatch):
    first = gan.train("first", loss, **TINY)
    monkeypatch.setenv("MODELS", str(tmp_path / "again"))
    second = gan.train("first", loss, **TINY)
    assert first.record["history"] == second.record["history"] and len(first.record["history"]) == 2
    assert torch.equal(metrics.sample(first.modules["generator"], 4), metrics.sample(second.modules["generator"], 4))
    assert all(not parameter.requires_grad for parameter in first.modules["generator"].parameters())


def test_path_aware_training_starts_from_the_plain_game():
    aware = gan.train("aware", "gan", path_weight=1.0, base_epochs=2, **TINY)
    base = gan.train("gan", "gan", **TINY)
    assert torch.equal(aware.modules["film"].z, base.modules["film"].z)
    statistics = [name for name in base.modules["generator"].state_dict() if "running" in name]
    for name in statistics:
        torch.testing.assert_close(
            aware.modules["generator"].state_dict()[name], base.modules["generator"].state_dict()[name]
        )
    assert aware.history("excess")[-1] > 0


def test_excess_of_a_constant_ghost_is_zero_and_of_a_cross_fade_one_third():
    images = torch.randn(64, 1, 2, 2, dtype=torch.float64)
    z = images.flatten(1)
    fade = torch.nn.Unflatten(1, (1, 2, 2))
    draws = torch.stack([gan.straight_line_excess(fade, z, images) for _ in range(400)])
    assert draws.mean().item() == pytest.approx(1 / 3, abs=5 * draws.std().item() / 20)


def test_bad_arguments():
    with pytest.raises(ValueError, match="'gan' or 'wgan-gp'"):
        gan.train("x", "vae")
    with pytest.raises(ValueError, match="must not exceed"):
        gan.train("x", "gan", batch=64, images=32)
    with pytest.raises(ValueError, match="choose one of 'gan'"):
        load_generator("stylegan")


def test_distance_of_a_set_to_itself_and_to_a_shifted_one():
    features = torch.randn(4000, 64)
    shifted = metrics.distances(features + 2 / 8, features)
    assert metrics.distances(features, features)["frechet"] == pytest.approx(0, abs=1e-3)
    assert shifted["frechet"] == pytest.approx(64 * (2 / 8) ** 2, rel=1e-2)  # equal covariances: ‖μ₁ − μ₂‖²


def test_class_divergence():
    even, one = torch.arange(1000) % 10, torch.zeros(1000, dtype=torch.int64)
    assert metrics.class_divergence(even, even) == 0
    assert metrics.class_divergence(one, even) == pytest.approx(math.log(10))
