"""The linear β-VAE against water-filling, the ensemble against its members, and training at a tiny size."""

import math

import pytest
import torch

from helpers import data, echo, linear_vae, vae

TINY = {"epochs": 2, "images": 256, "batch": 64, "width": 8, "latent": 3}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))


def covariance(spectrum):
    basis = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), dtype=torch.float64)).Q
    return basis @ torch.tensor(spectrum, dtype=torch.float64).diag() @ basis.T


def test_pixels_are_in_the_unit_interval():
    x = vae.pixels("test")
    assert x.shape == (10_000, 784) and x.min() == 0 and x.max() == 1
    assert torch.equal(x[0].view(28, 28) * 2 - 1, data.mnist("test")[0][0, 0])


def test_binary_pixels_are_drawn_once_with_the_right_mean():
    x, binary = vae.pixels("test"), vae.pixels("test", binary=True)
    assert torch.equal(binary, vae.pixels("test", binary=True)) and set(binary.unique().tolist()) == {0, 1}
    deviation = (binary - x).sum() / (x * (1 - x)).sum().sqrt()
    assert abs(deviation) < 5 and (binary[x == 0] == 0).all() and (binary[x == 1] == 1).all()


def test_gaussian_rate_is_torch_s_kl():
    mean, log_std = torch.randn(2, 4, 5, 3).unbind(0)
    normal, prior = torch.distributions.Normal(mean, log_std.exp()), torch.distributions.Normal(0, 1)
    expected = torch.distributions.kl_divergence(normal, prior).sum(-1)
    torch.testing.assert_close(vae.gaussian_rate(mean, log_std), expected)


def test_water_filling_by_hand_and_its_slope():
    spectrum = torch.tensor([4.0, 2.0, 0.5], dtype=torch.float64)
    rate, distortion = linear_vae.water_filling(spectrum, 1.0)
    assert rate.item() == pytest.approx(0.5 * math.log(8)) and distortion.item() == pytest.approx(2.5)
    loss = [linear_vae.water_filling(spectrum, beta / 2) for beta in (2 - 1e-4, 2 + 1e-4)]
    loss = [D + beta * R for (R, D), beta in zip(loss, (2 - 1e-4, 2 + 1e-4), strict=True)]
    assert ((loss[1] - loss[0]) / 2e-4).item() == pytest.approx(rate.item(), rel=1e-6)  # dL*/dβ = R


def test_linear_terms_are_the_sampled_ones():
    S = covariance([3.0, 1.0, 0.3])
    V, log_var, W = torch.randn(2, 3).double(), torch.randn(2).double(), torch.randn(3, 2).double()
    rate, distortion = linear_vae.terms(V, log_var, W, S)
    x = torch.randn(200_000, 3, dtype=torch.float64) @ torch.linalg.cholesky(S).T
    mean = x @ V.T
    z = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
    rates, errors = vae.gaussian_rate(mean, (0.5 * log_var).expand_as(mean)), (x - z @ W.T).square().sum(1)
    for exact, samples in ((rate, rates), (distortion, errors)):
        assert samples.mean().item() == pytest.approx(exact.item(), abs=5 * samples.std().item() / 200_000**0.5)


@pytest.mark.parametrize("beta", [0.1, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("latents", [2, 6])
def test_fitted_linear_vae_fills_with_water(beta, latents):
    spectrum = [5.0, 3.0, 1.0, 0.4, 0.2, 0.05]
    rate, distortion, (V, _, _) = linear_vae.fit(covariance(spectrum), beta, latents, 300)
    kept = torch.tensor(spectrum[:latents], dtype=torch.float64)
    expected_rate, expected_distortion = linear_vae.water_filling(kept, beta / 2)
    assert rate == pytest.approx(expected_rate.item(), rel=1e-2, abs=1e-4)
    assert distortion == pytest.approx(expected_distortion.item() + sum(spectrum[latents:]), rel=1e-2)
    assert V.shape == (latents, 6)


@pytest.mark.parametrize("noise", ["gaussian", "echo"])
def test_members_of_an_ensemble_do_not_touch_each_other(noise):
    model, x = vae.Autoencoders(3, 2, 8, noise), torch.rand(5, 784)
    rate, distortion = model(x)
    assert rate.shape == distortion.shape == (3, 5)
    (distortion[1] + rate[1]).sum().backward()
    for parameter in model.parameters():
        assert not parameter.grad[[0, 2]].any() and torch.equal(parameter[0], parameter[2])


def test_ensemble_layer_is_three_linear_layers():
    layer, x = vae.Dense(3, 4, 2), torch.randn(5, 4)
    layer.bias.data.normal_()
    for k in range(3):
        torch.testing.assert_close(layer(x)[k], x @ layer.weight[k] + layer.bias[k])


def test_echo_members_share_the_cycle_and_the_clip():
    model, x = vae.Autoencoders(2, 3, 8, "echo"), torch.rand(6, 784)
    m, s = model.encode(x)
    assert m.abs().max() < vae.ECHO["bound"] and 0 < s.min() and s.max() < vae.CLIP
    z = model.sample(m, s, torch.Generator().manual_seed(0))
    alone = echo.echo_sample(m[1], s[1], 6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(z[1], alone)
    torch.testing.assert_close(model.rate(m, s)[1], echo.echo_rate(s[1]))
    assert (model.rate(m, s) > -3 * math.log(vae.CLIP)).all()  # the clip's floor


def test_echo_settings_and_distortions_are_what_they_say():
    x, settings = torch.rand(6, 784), {"bound": 2.0, "stretch": 0.5, "clip": 0.6, "start": 0.3}
    model = vae.Autoencoders(2, 3, 8, "echo", layers=2, echo=settings)
    heads = model.encoder(2 * x - 1)[..., :3]
    torch.testing.assert_close(model.encode(x)[0], 2 * (heads / 0.5).tanh())
    model.encoder[-1].weight.data.zero_()
    torch.testing.assert_close(model.encode(x)[1], torch.full((2, 6, 3), 0.3))
    x = x.round()
    for binary in (False, True):
        model.binary = binary
        images = model.decode(model.sample(*model.encode(x), torch.Generator().manual_seed(0)))
        likelihood = torch.distributions.Bernoulli(images).log_prob(x)
        expected = -likelihood.sum(-1) if binary else (images - x).square().sum(-1)
        torch.testing.assert_close(model(x, torch.Generator().manual_seed(0))[1], expected)
    assert len(model.encoder) == len(model.decoder) == 5


@pytest.mark.parametrize("noise", ["gaussian", "echo"])
@pytest.mark.parametrize("binary", [False, True])
def test_training_runs_and_repeats(noise, binary, tmp_path, monkeypatch):
    first = vae.train("sweep", [0.01, 5.0], noise, binary, **TINY)
    monkeypatch.setenv("MODELS", str(tmp_path / "again"))
    second = vae.train("sweep", [0.01, 5.0], noise, binary, **TINY)
    assert first.record["history"] == second.record["history"] and len(first.record["history"]) == 2
    x, model, scores = vae.pixels("test", binary), first.modules["autoencoders"], first.modules["scores"]
    rates, distortions = vae.evaluate(model, x)
    assert torch.equal(rates, vae.evaluate(second.modules["autoencoders"], x)[0])
    assert torch.equal(rates, scores.rate) and torch.equal(distortions, scores.distortion)
    assert torch.equal(scores.train_rate, vae.evaluate(model, vae.pixels("train", binary)[:256])[0])
    assert rates[0] != rates[1] and torch.isfinite(distortions).all()
    assert first.history("loss")[1] < first.history("loss")[0]
    heads = vae.codes(model, x[:100], 1)
    assert heads[0].shape == heads[1].shape == (100, 3)


def test_networks_that_are_not_kept_leave_their_scores(tmp_path):
    kept = vae.train("sweep", [0.1, 50.0], "echo", **TINY)
    bare = vae.train("sweep", [0.1, 50.0], "echo", keep=False, **TINY)
    again = vae.train("sweep", [0.1, 50.0], "echo", keep=False, **TINY)
    assert list(bare.modules) == list(again.modules) == ["scores"] and again.record == bare.record
    for name, value in kept.modules["scores"].state_dict().items():
        assert torch.equal(value, bare.modules["scores"].state_dict()[name])
        assert torch.equal(value, again.modules["scores"].state_dict()[name])
    sizes = sorted(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert len(sizes) == 2 and sizes[0] < 1000 < sizes[1]


def test_bad_arguments():
    with pytest.raises(ValueError, match="'gaussian' or 'echo'"):
        vae.train("x", [1.0], "laplace")
    with pytest.raises(ValueError, match="at least 0"):
        vae.train("x", [1.0, -1.0])
    with pytest.raises(ValueError, match="at least 0"):
        vae.train("x", [])
    with pytest.raises(ValueError, match="echo has no setting scale: it has clip, bound"):
        vae.train("x", [1.0], "echo", echo={"scale": 2.0})
    with pytest.raises(ValueError, match="must not exceed"):
        vae.train("x", [1.0], batch=64, images=32)
