"""The adversarial losses, the penalty, the networks, and the training loop at a tiny size."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers import evaluation, gan, store
from helpers.models import load_generator
from helpers.networks import GENERATORS, build_generator
from helpers.training_film import Film

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


@pytest.mark.parametrize(
    ("loss", "slope"), [(gan.generator_loss, lambda p: p - 1), (gan.saturating_loss, lambda p: -p)]
)
def test_loss_gradients_saturate_as_derived(loss, slope):
    logit = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logit) * len(logit), logit)
    torch.testing.assert_close(gradient, slope(logit.detach().sigmoid()))


def test_critic_loss_falls_when_real_scores_rise():
    assert gan.critic_loss(torch.tensor([3.0]), torch.tensor([1.0])) == -2


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_map_codes_to_images(kind):
    network = build_generator(kind, latent_dim=20, width=32, channels=8).eval()
    images = network(torch.randn(5, 20))
    assert images.shape == (5, 1, 28, 28) and images.abs().max() <= 1


def test_he_initialisation_keeps_the_code_and_the_default_loses_it():
    z = torch.randn(500, 64)
    spread = {start: build_generator(f"mlp-{start}", 64, 0, 0)(z).std(0).mean().item() for start in ("default", "he")}
    assert spread["he"] > 10 * spread["default"]


@pytest.mark.parametrize("loss", gan.GAMES)
def test_training_runs_and_repeats(loss, tmp_path, monkeypatch):
    first = gan.train("first", loss, **TINY)
    monkeypatch.setenv("MODELS", str(tmp_path / "again"))
    second = gan.train("first", loss, **TINY)
    assert first.record["history"] == second.record["history"] and len(first.record["history"]) == 2
    assert torch.equal(
        evaluation.sample(first.modules["generator"], 4), evaluation.sample(second.modules["generator"], 4)
    )
    assert all(not parameter.requires_grad for parameter in first.modules["generator"].parameters())


@pytest.mark.parametrize("loss", ["gan", "wgan-gp"])
def test_interrupted_training_resumes_bit_for_bit(loss, tmp_path, monkeypatch):
    whole = gan.train("whole", loss, **TINY)
    monkeypatch.setenv("MODELS", str(tmp_path / "again"))
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", 0.0)
    shoot = Film.shoot

    def interrupted(film, generator, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        shoot(film, generator, epoch)

    monkeypatch.setattr(Film, "shoot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        gan.train("whole", loss, **TINY)
    assert list((tmp_path / "again").glob("*.partial"))
    monkeypatch.setattr(Film, "shoot", shoot)
    resumed = gan.train("whole", loss, **TINY)
    assert resumed.record["history"] == whole.record["history"]
    for name, module in whole.modules.items():
        for key, tensor in module.state_dict().items():
            assert torch.equal(tensor, resumed.modules[name].state_dict()[key]), f"{name}.{key}"


def test_divergence_stops_and_names_epoch_and_loss():
    with pytest.raises(FloatingPointError, match=r"diverged in epoch \d: .*critic = (nan|inf|-inf)"):
        gan.train("wild", "wgan-gp", **TINY | {"learning_rate": 1e30})


def test_the_generator_moves_after_every_so_many_critic_steps(monkeypatch):
    moves = []
    monkeypatch.setattr(gan, "_move_average", lambda *_: moves.append(1))
    gan.train("five", "wgan-gp", **TINY | {"epochs": 2}, critic_steps=3)
    assert len(moves) == 8 // 3  # 2 epochs of 4 batches, counted through


def test_clipping_bounds_every_weight():
    critic = gan.train("clipped", "wgan-clip", **TINY).modules["critic"]
    assert max(weight.abs().max().item() for weight in critic.parameters()) <= gan.GAMES["wgan-clip"].clip


def test_history_holds_scores_when_asked_and_a_kept_record_needs_no_weights(tmp_path):
    judge = {"epochs": 1, "images": 512, "channels": 4}
    trained = gan.train("scored", "gan", **TINY | {"epochs": 3}, scored=100, score_every=2, judge=judge, keep=False)
    assert list(trained.curve("frechet")) == [2, 3] and list(trained.curve("coverage")) == [3]
    assert trained.history("frechet_raw")[0] != trained.history("frechet")[-1]
    assert not trained.modules and not list(tmp_path.glob("*.partial"))
    plain = gan.train("plain", "gan", **TINY | {"epochs": 3})
    assert plain.history("critic") == trained.history("critic")  # scoring leaves the training as it is


def test_only_the_modules_asked_for_are_kept():
    trained = gan.train("some", "gan", **TINY, keep="generator")
    assert list(trained.modules) == ["generator"]
    assert trained.history("critic") == gan.train("all", "gan", **TINY).history("critic")


def test_bad_arguments():
    with pytest.raises(ValueError, match="one of 'gan'"):
        gan.train("x", "vae")
    with pytest.raises(ValueError, match="must not exceed"):
        gan.train("x", "gan", batch=64, images=32)
    with pytest.raises(ValueError, match="critic_steps"):
        gan.train("x", "gan", critic_steps=0)
    with pytest.raises(ValueError, match="must be one of conv"):
        gan.train("x", "gan", **TINY | {"generator": "transformer"})
    with pytest.raises(ValueError, match="choose one of 'gan'"):
        load_generator("stylegan")
