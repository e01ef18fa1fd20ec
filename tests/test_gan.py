"""The adversarial losses, the gradient penalty, the networks, and the training loop at a tiny size."""

import math
import re
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers import gan, store
from helpers.config import config_hash
from helpers.gan import CONFIGS, SampleHistory
from helpers.networks import CRITICS, GENERATORS, SLOPE, MLPCritic, MLPGenerator, build_generator

TINY = {"epochs": 2, "images": 256, "batch_size": 64, "channels": 8, "width": 32, "num_eval_samples": 0}
GAN, WGAN_GP = (replace(CONFIGS[name], **TINY) for name in ("gan", "wgan-gp"))
BEST = replace(CONFIGS["best"], **TINY, r1_every=2)  # R1, random shifts, a convolutional critic


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setenv("MODELS", str(tmp_path))


def test_losses_are_the_binary_cross_entropies_and_the_difference_of_scores():
    real, fake = torch.randn(50), torch.randn(50)
    ones, zeros = torch.ones(50), torch.zeros(50)
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(gan.discriminator_loss(real, fake), bce(real, ones) + bce(fake, zeros))
    torch.testing.assert_close(gan.generator_loss(fake), bce(fake, ones))
    assert gan.discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert gan.wasserstein_critic_loss(torch.tensor([3.0]), torch.tensor([1.0])) == -2


@pytest.mark.parametrize(
    ("loss", "slope"), [(gan.generator_loss, lambda p: p - 1), (gan.saturating_loss, lambda p: -p)]
)
def test_loss_gradients_saturate_as_derived(loss, slope):
    logit = torch.linspace(-8, 8, 33, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(logit) * len(logit), logit)
    torch.testing.assert_close(gradient, slope(logit.detach().sigmoid()))


def product_form(critic, x):
    """The penalty of an MLPCritic at x without differentiating twice: ∇D = wᵀ…M₂W₂M₁W₁ with the slopes M at x."""
    *hidden, last = [layer for layer in critic.net if isinstance(layer, nn.Linear)]
    masks = []
    with torch.no_grad():
        x = x.flatten(1)
        for layer in hidden:
            x = layer(x)
            masks.append(torch.where(x > 0, torch.ones_like(x), SLOPE))
            x = x * masks[-1]
    gradient = last.weight.expand(len(x), -1)
    for layer, mask in zip(reversed(hidden), reversed(masks), strict=True):
        gradient = (gradient * mask) @ layer.weight
    return ((gradient.square().sum(1) + 1e-12).sqrt() - 1).square().mean()


@pytest.mark.parametrize("widths", [(7,), (32, 16), (32, 16, 8)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_penalty_and_its_weight_gradient_agree_with_the_product_of_the_layers(widths, dtype, tolerance):
    critic = MLPCritic(widths).to(dtype)
    real, fake = torch.randn(2, 16, 1, 28, 28, dtype=dtype)
    expected = product_form(critic, gan.interpolate(real, fake, torch.Generator().manual_seed(0)))
    penalty = gan.gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    weights = [weight for weight in critic.parameters() if weight.dim() == 2]
    found = (penalty, *torch.autograd.grad(penalty, weights))
    for value, exact in zip(found, (expected, *torch.autograd.grad(expected, weights)), strict=True):
        torch.testing.assert_close(value, exact, rtol=tolerance, atol=tolerance)


class Doubled(MLPCritic):
    """A critic with a `forward` of its own."""

    def forward(self, x):
        return 2 * super().forward(x).tanh()


def convolutional(*layers):
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), *layers, nn.Flatten(), nn.Linear(256, 1), nn.Flatten(0))


OTHER_CRITICS = {
    "another slope": nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.LeakyReLU(0.05), nn.Linear(9, 1), nn.Flatten(0)),
    "two linear layers in a row": nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.Linear(9, 1), nn.Flatten(0)),
    "its own forward": Doubled((9,)),
    "convolutions": convolutional(nn.SiLU()),
    "group norm": convolutional(nn.GroupNorm(2, 4), nn.ReLU()),
}


@pytest.mark.parametrize("kind", OTHER_CRITICS)
def test_the_penalty_holds_for_any_critic_that_scores_each_image_alone(kind):
    critic = OTHER_CRITICS[kind].double()
    real, fake = torch.randn(2, 6, 1, 28, 28, dtype=torch.float64)
    x = gan.interpolate(real, fake, torch.Generator().manual_seed(0))
    step = 1e-6
    slopes = []
    for image in x:  # the slope of the score along its gradient, by differences
        image = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(image[None]).sum(), image)
        along = gradient / gradient.norm()
        slopes.append((critic((image + step * along)[None]) - critic((image - step * along)[None])) / (2 * step))
    expected = (torch.cat(slopes) - 1).square().mean().item()
    penalty = gan.gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    assert penalty.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0])
def test_penalty_of_a_linear_critic(length):
    critic = MLPCritic((1,)).double()  # with all scores on one side of the kink: linear there
    with torch.no_grad():
        critic.net[1].weight.copy_(length * F.normalize(torch.randn(1, 784), dim=1))
        critic.net[1].bias.fill_(1000.0)
        critic.net[3].weight.fill_(1.0)
    penalty = gan.gradient_penalty(critic, *torch.randn(2, 16, 1, 28, 28, dtype=torch.float64))
    assert penalty.item() == pytest.approx((length - 1) ** 2, abs=2e-6)
    penalty.backward()
    assert torch.isfinite(critic.net[1].weight.grad).all()  # also where the slope is zero


def test_the_penalty_refuses_images_of_bytes_or_unlike_shapes():
    for real, fake in [(torch.zeros(4, 1, 28, 28, dtype=torch.uint8),) * 2, torch.randn(8, 1, 28, 28).split([5, 3])]:
        with pytest.raises(ValueError, match="one floating dtype and one shape, not"):
            gan.gradient_penalty(MLPCritic(), real, fake)


def test_the_penalty_has_the_same_value_without_gradients():
    critic, (real, fake) = MLPCritic(), torch.randn(2, 16, 1, 28, 28)
    value = gan.gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert gan.gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0)) == value


@pytest.mark.parametrize("kind", CRITICS)
def test_the_r1_penalty_is_the_mean_squared_slope_and_has_exact_weight_gradients(kind):
    critic, real = CRITICS[kind]().double(), torch.randn(4, 1, 28, 28, dtype=torch.float64)
    slopes = [torch.autograd.grad(critic(x[None]).sum(), x)[0].norm() for x in real.clone().requires_grad_().unbind()]
    penalty = gan.r1_penalty(critic, real)
    with torch.no_grad():
        assert gan.r1_penalty(critic, real) == penalty
    assert penalty.item() == pytest.approx(torch.stack(slopes).square().mean().item())
    weight, step = next(critic.parameters()), 1e-9  # hardly a kink is crossed
    (gradient,) = torch.autograd.grad(penalty, weight)
    direction = torch.randn_like(weight)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(direction, alpha=sign * step)
        values.append(gan.r1_penalty(critic, real).item())
        with torch.no_grad():
            weight.sub_(direction, alpha=sign * step)
    assert (values[0] - values[1]) / (2 * step) == pytest.approx((gradient * direction).sum().item(), rel=1e-4)


def test_random_shifts_move_each_image_by_up_to_so_many_pixels_and_pass_gradients():
    images = -torch.ones(500, 1, 28, 28)
    images[:, :, 10, 20] = 1.0
    images.requires_grad_()
    shifted = gan.random_shift(images, 2, torch.Generator().manual_seed(0))
    rows, columns = (shifted[:, 0] == 1).nonzero()[:, 1:].T
    assert set(rows.tolist()) == set(range(8, 13)) and set(columns.tolist()) == set(range(18, 23))
    assert ((shifted == 1).sum((1, 2, 3)) == 1).all() and shifted.min() == -1
    shifted.sum().backward()
    assert (images.grad[:, :, 2:-2, 2:-2] == 1).all()
    assert gan.random_shift(images, 0) is images


def test_penalty_points_lie_on_the_segments():
    real, fake = torch.ones(1000, 1, 2, 2), -torch.ones(1000, 1, 2, 2)
    x = gan.interpolate(real, fake)
    share = (x[:, 0, 0, 0] + 1) / 2
    assert (x == x[:, :, :1, :1]).all()  # one ε per image, not per pixel
    assert 0 <= share.min() and share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / 1000) ** 0.5)


@pytest.mark.parametrize("kind", GENERATORS)
def test_generators_map_codes_to_images(kind):
    images = build_generator(kind, latent_dim=20, width=32, channels=8).eval()(torch.randn(5, 20))
    assert images.shape == (5, 1, 28, 28) and images.abs().max() <= 1


def test_he_initialisation_keeps_the_code_and_the_default_loses_it():
    z = torch.randn(500, 64)
    deviation = [build_generator(f"mlp-{start}", 64, 0, 0)(z).std(0).mean().item() for start in ("default", "he")]
    assert deviation[1] > 10 * deviation[0]


RECORD = SampleHistory.record


def interrupted_in_epoch_1(history, generator, epoch):
    if epoch == 1:
        raise KeyboardInterrupt
    RECORD(history, generator, epoch)


@pytest.mark.parametrize("config", [GAN, WGAN_GP, BEST])
def test_interrupted_training_resumes_bit_for_bit(config, tmp_path, monkeypatch):
    whole = gan.train(config)
    monkeypatch.setenv("MODELS", str(tmp_path / "again"))
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SampleHistory, "record", interrupted_in_epoch_1)
        gan.train(config)
    assert list((tmp_path / "again").glob("*.partial"))
    resumed = gan.train(config)
    assert resumed.record["history"] == whole.record["history"]
    assert resumed.record["sha256"] == whole.record["sha256"]


def test_the_generator_takes_its_turn_after_every_few_steps_of_the_critic():
    model = gan.GAN(replace(WGAN_GP, critic_steps=2))
    x = torch.rand(8, 1, 28, 28)
    before = [weights.clone() for weights in model.G.parameters()]
    assert "generator" not in model.step(x, 0)
    assert all(map(torch.equal, before, model.G.parameters()))
    assert "generator" in model.step(x, 1)
    assert not any(map(torch.equal, before, model.G.parameters()))


def test_losses_and_penalties_that_are_redefined_take_effect_and_are_named(monkeypatch, capsys):
    note = "Note: .* was trained with other losses"
    first = gan.train(WGAN_GP)
    for factor in (2, 3):  # each time
        monkeypatch.setattr(
            gan, "wasserstein_critic_loss", lambda real, fake, k=factor: k * (fake.mean() - real.mean())
        )
        assert gan.train(WGAN_GP).record == first.record and re.search(note, capsys.readouterr().out)
    other = gan.train(replace(WGAN_GP, seed=1))
    monkeypatch.undo()
    assert not re.search(note, capsys.readouterr().out)
    assert first.record["code"] != other.record["code"]
    monkeypatch.setattr(gan, "gradient_penalty", lambda D, real, fake, rng: D(real).sum() * 0 + 5.0)
    assert gan.train(replace(WGAN_GP, seed=2)).history("penalty") == [5.0, 5.0]


def test_a_training_is_not_continued_with_another_loss(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SampleHistory, "record", interrupted_in_epoch_1)
        gan.train(GAN)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="half a training with other losses"):
        patch.setattr(gan, "generator_loss", gan.saturating_loss)
        gan.train(GAN)
    assert len(gan.train(GAN).record["history"]) == 2, "with its own losses it goes on"


def test_a_network_of_one_s_own_is_a_setting_like_the_others(monkeypatch):
    monkeypatch.setitem(CRITICS, "wide", lambda: MLPCritic((64,)))
    own = gan.train(replace(GAN, critic="wide"))
    assert own.modules["critic"].net[1].out_features == 64


def test_a_training_without_a_name_has_that_of_the_shipped_model_or_is_one_s_own(tmp_path):
    assert gan.known_name(replace(CONFIGS["wgan-gp"], seed=2)) == "wgan-gp"
    gan.train(WGAN_GP)
    (path,) = tmp_path.glob("*.safetensors")
    assert path.name.startswith("own-")


def test_equal_configurations_have_equal_hashes_and_new_settings_rename_nothing():
    assert config_hash(replace(WGAN_GP, penalty_weight=10)) == config_hash(replace(WGAN_GP, penalty_weight=10.0))
    assert config_hash(replace(GAN, keep=())) == config_hash(GAN) != config_hash(replace(GAN, seed=1))
    assert config_hash(replace(GAN, classifier={"epochs": 8})) == config_hash(GAN)
    assert config_hash(replace(GAN, classifier={"epochs": 1})) != config_hash(GAN)
    assert config_hash(GAN) == config_hash({"format": 2} | {k: v for k, v in TINY.items()})


def test_the_accuracy_of_a_wasserstein_critic_is_not_recorded():
    assert gan.train(GAN).history("accuracy") and not gan.train(WGAN_GP).history("accuracy")


def test_divergence_stops_and_names_epoch_and_loss():
    with pytest.raises(FloatingPointError, match=r"diverged in epoch \d: .*critic = (nan|inf|-inf)"):
        gan.train(replace(WGAN_GP, learning_rate=1e30))


def test_history_holds_scores_when_asked_and_a_kept_record_needs_no_weights(tmp_path):
    scored = {"num_eval_samples": 100, "eval_every": 2, "classifier": {"epochs": 1, "images": 512, "channels": 4}}
    trained = gan.train(replace(GAN, epochs=3, keep=(), **scored))
    assert list(trained.curve("frechet")) == [2, 3] and list(trained.curve("coverage")) == [3]
    assert not trained.modules and not list(tmp_path.glob("*.partial"))
    some = gan.train(replace(GAN, epochs=3, keep=("generator",)))
    assert list(some.modules) == ["generator"]
    assert some.history("critic") == trained.history("critic")  # scoring and keeping leave the training as it is


REFUSED = {
    "loss must be 'gan', 'saturating' or 'wgan', not 'vae'": {"loss": "vae"},
    "generator must be one of conv, .* not 'transformer'": {"generator": "transformer"},
    "critic must be one of mlp, conv, not 'resnet'": {"critic": "resnet"},
    "must not exceed images": {"batch_size": 300, "images": 200},
    "batch_size must be greater than or equal to 2, not 1": {"batch_size": 1},
    "r1_every must be greater than or equal to 1": {"r1_every": 0},
    "num_eval_samples must be greater than or equal to 0": {"num_eval_samples": -5},
    "num_eval_samples must be 0 or more than 5": {"num_eval_samples": 1},
    "epochs must be a valid integer": {"epochs": 1.5},
    "learning_rate must be a finite number": {"learning_rate": math.nan},
    "path_weight must be greater than or equal to 0": {"path_weight": -1.0},
    r"betas\[0\] must be less than 1, not 5": {"betas": (5.0, "x")},
    "ClassifierConfig has no setting 'epoch': its settings are epochs": {"classifier": {"epoch": 1}},
    r"keep\[0\] must be 'generator', 'critic' or 'film', not 'generater'": {"keep": ("generater",)},
    "GanConfig has no setting 'lr': its settings are loss, epochs": {"lr": 1e-4},
}


@pytest.mark.parametrize(("message", "change"), REFUSED.items())
def test_settings_without_sense_are_refused(message, change):
    with pytest.raises(ValueError, match=message):
        replace(GAN, **change)


def test_a_generator_is_loaded_by_a_known_name_only():
    with pytest.raises(ValueError, match="choose one of 'gan'"):
        gan.load_generator("stylegan")


def test_networks_of_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="generator must be one of conv, .* not 'vae'"):
        build_generator("vae")
    with pytest.raises(ValueError, match="initialisation must be one of default, he, batchnorm, not 'xavier'"):
        MLPGenerator(initialisation="xavier")
