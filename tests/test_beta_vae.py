"""The ensemble's parts against torch's own, its members against each other, and training at a tiny size."""

import math
from dataclasses import replace

import pytest
import torch

from helpers import beta_vae, data, echo
from helpers.beta_vae import BetaVAE, EchoConfig, EchoVAE, SweepConfig

TINY = SweepConfig((0.01, 5.0), epochs=2, images=256, batch_size=64, width=8, latent_dim=3)
REFUSED = [
    {"betas": []},
    {"betas": [-1.0]},
    {"epochs": 0},
    {"batch_size": 0},
    {"batch_size": 257},
    {"images": 2.5},
    {"width": 0},
    {"latent_dim": 0},
    {"layers": 0},
    {"warm_up": -0.1},
    {"seed": -1},
    {"learning_rate": math.nan},
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_pixels_are_in_the_unit_interval_and_binary_ones_are_drawn_once_with_the_right_mean():
    x, binary = beta_vae.pixels("test"), beta_vae.pixels("test", binary=True)
    assert x.shape == (10_000, 784) and x.min() == 0 and x.max() == 1
    assert torch.equal(x[0].view(28, 28) * 2 - 1, data.mnist("test")[0][0, 0])
    assert torch.equal(binary, beta_vae.pixels.__wrapped__("test", binary=True)) and binary.unique().tolist() == [0, 1]
    deviation = (binary - x).sum() / (x * (1 - x)).sum().sqrt()
    assert abs(deviation) < 5 and (binary[x == 0] == 0).all() and (binary[x == 1] == 1).all()


def test_gaussian_rate_is_torch_s_kl():
    mean, log_std = torch.randn(2, 4, 5, 3).unbind(0)
    normal, prior = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0, 1)
    expected = torch.distributions.kl_divergence(normal, prior).sum(-1)
    torch.testing.assert_close(BetaVAE(TINY).rate(mean, log_std), expected)


@pytest.mark.parametrize("kind", [BetaVAE, EchoVAE])
def test_members_of_an_ensemble_do_not_touch_each_other(kind):
    model, x = kind(replace(TINY, betas=(0, 0, 0), echo=EchoConfig())), torch.rand(5, 784)
    rate, distortion = model(x)
    assert rate.shape == distortion.shape == (3, 5)
    (distortion[1] + rate[1]).sum().backward()
    for parameter in model.parameters():
        assert not parameter.grad[[0, 2]].any() and torch.equal(parameter[0], parameter[2])


def test_ensemble_layer_is_three_linear_layers():
    layer, x = beta_vae.Dense(3, 4, 2), torch.randn(5, 4)
    layer.bias.data.normal_()
    for k in range(3):
        torch.testing.assert_close(layer(x)[k], x @ layer.weight[k] + layer.bias[k])


def test_echo_members_share_the_cycle_and_the_clip():
    model, x = EchoVAE(replace(TINY, echo=EchoConfig())), torch.rand(6, 784)
    m, s = model.encode(x)
    assert m.abs().max() < EchoConfig.bound and 0 < s.min() and s.max() < EchoConfig.clip
    z = model.sample(m, s, torch.Generator().manual_seed(0))
    alone = echo.echo_sample(m[1], s[1], 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z[1], alone)
    torch.testing.assert_close(model.rate(m, s)[1], echo.echo_rate(s[1]))
    assert (model.rate(m, s) > -3 * math.log(EchoConfig.clip)).all()  # the clip's floor


def test_echo_settings_and_distortions_are_what_they_say():
    x, settings = torch.rand(6, 784), EchoConfig(bound=2.0, stretch=0.5, clip=0.6, start=0.3)
    model = EchoVAE(replace(TINY, layers=2, echo=settings))
    heads = model.encoder(2 * x - 1)[..., :3]
    torch.testing.assert_close(model.encode(x)[0], 2 * (heads / 0.5).tanh())
    model.encoder[-1].weight.data.zero_()
    torch.testing.assert_close(model.encode(x)[1], torch.full((2, 6, 3), 0.3))
    x = x.round()
    for binary in (False, True):
        model.config = replace(model.config, binary=binary)
        images = model.decode(model.sample(*model.encode(x), torch.Generator().manual_seed(0)))
        likelihood = torch.distributions.Bernoulli(images).log_prob(x)
        expected = -likelihood.sum(-1) if binary else (images - x).square().sum(-1)
        torch.testing.assert_close(model(x, torch.Generator().manual_seed(0))[1], expected)
    assert len(model.encoder) == len(model.decoder) == 5


def test_a_plain_autoencoder_decodes_the_mean_and_has_no_prior_term():
    config = replace(TINY, betas=(0.0,), noise=False)
    x = torch.rand(6, 784)
    model = beta_vae.Sweep(config, x).autoencoders
    rate, distortion = model(x)
    images = model.decode(model.encode(x)[0])
    torch.testing.assert_close(distortion, (images - x).square().sum(-1))
    assert rate.shape == (1, 6) and not rate.any()
    run = beta_vae.train_sweep(config, "autoencoder")
    scores = run.modules["scores"]
    assert scores.distortion.item() > 0 == scores.rate.item() and run.history("loss")[1] < run.history("loss")[0]


@pytest.mark.parametrize("change", [{"betas": (0.1,)}, {"betas": (0.0,), "echo": EchoConfig()}])
def test_without_noise_there_is_no_beta_and_no_echo(change):
    with pytest.raises(ValueError, match="where there is no noise"):
        replace(TINY, **change, noise=False)


@pytest.mark.parametrize("noise", [None, EchoConfig()])
@pytest.mark.parametrize("binary", [False, True])
def test_training_lowers_the_loss_and_keeps_its_scores(noise, binary):
    run = beta_vae.train_sweep(replace(TINY, echo=noise, binary=binary), "sweep")
    assert len(run.record["history"]) == 2 and run.history("loss")[1] < run.history("loss")[0]
    model, scores = run.modules["autoencoders"], run.modules["scores"]
    rates, distortions = beta_vae.evaluate(model, beta_vae.pixels("test", binary))
    assert torch.equal(rates, scores.rate) and torch.equal(distortions, scores.distortion)
    x = beta_vae.pixels("train", binary)[:256]
    assert torch.equal(scores.train_rate, beta_vae.evaluate(model, x)[0])
    assert rates[0] != rates[1] and torch.isfinite(distortions).all()
    heads = beta_vae.codes(model, x[:100], 1)
    assert heads[0].shape == heads[1].shape == (100, 3)


def test_networks_that_are_not_kept_leave_their_scores(folder):
    config = replace(TINY, betas=(0.1, 50.0), echo=EchoConfig())
    runs, sizes = [], []
    for keep in (False, True, False):
        runs.append(beta_vae.train_sweep(replace(config, keep=keep), "sweep"))
        (path,) = folder.glob("*.safetensors")
        sizes.append(path.stat().st_size)
    first, kept, second = runs
    bare = [first, second]
    assert all(list(run.modules) == ["scores"] for run in bare) and kept.record == second.record
    for name, value in kept.modules["scores"].state_dict().items():
        assert all(torch.equal(value, run.modules["scores"].state_dict()[name]) for run in bare)
    assert sizes[0] < 3000 and sizes[1] == sizes[2] > 30_000, "the whole model takes the place of its record"


@pytest.mark.parametrize("change", REFUSED)
def test_a_setting_without_sense_is_refused(change):
    with pytest.raises(ValueError, match=f"^{next(iter(change))}.*( must | should )"):
        replace(TINY, **change)


@pytest.mark.parametrize("change", [{"clip": 1.5}, {"bound": 0.0}, {"start": 0.9}, {"clop": 0.5}])
def test_settings_of_the_echo_without_sense_are_refused(change):
    with pytest.raises(ValueError, match="must be|has no setting"):
        EchoConfig(**change)
    with pytest.raises(ValueError, match="must be|has no setting"):
        SweepConfig((0.1,), echo=change)
