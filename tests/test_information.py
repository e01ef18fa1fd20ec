"""log q(z_i|x_j) against torch's own, the exact mixture by brute force and under its bounds, the quadrature's order."""

import math

import numpy as np
import pytest
import torch

from helpers import information as info


def linear_gaussian(count, rate, dimensions=4):
    tau = math.exp(-2 * rate / dimensions)
    mean = math.sqrt(1 - tau) * torch.randn(count, dimensions, dtype=torch.float64)
    return mean + math.sqrt(tau) * torch.randn_like(mean), mean, torch.full_like(mean, 0.5 * math.log(tau))


def test_log_densities_are_those_of_torch():
    z, mean, log_std = torch.randn(3, 5, 2).unbind(0)
    normal = torch.distributions.Normal(mean.double(), log_std.double().exp())
    expected = normal.log_prob(z.double().unsqueeze(1)).sum(-1)
    torch.testing.assert_close(info.log_densities(z, mean, log_std), expected)


def test_exact_mixture_is_the_mean_of_all_densities():
    z, mean, log_std = linear_gaussian(300, 3.0)
    own = torch.randperm(300)[:70]
    conditional, marginal = info.exact_mixture(z[own], own, mean, log_std, block=32)
    logq = info.log_densities(z, mean, log_std)
    torch.testing.assert_close(conditional, logq.diagonal()[own])
    torch.testing.assert_close(marginal, logq.exp().mean(1).log()[own])


@pytest.mark.parametrize("rate", [0.5, 2.0, 6.0])
def test_information_is_below_the_truth_and_below_log_n(rate):
    z, mean, log_std = linear_gaussian(256, rate)
    conditional, marginal = info.exact_mixture(z, torch.arange(256), mean, log_std)
    terms = conditional - marginal
    assert terms.mean() < min(rate + 5 * terms.std() / 16, math.log(256))
    if rate < 1:  # where so many codes suffice it is right
        assert terms.mean().item() == pytest.approx(rate, abs=5 * terms.std().item() / 16)


@pytest.mark.parametrize("std", [1e-3, 1e-5, 1e-8, 1e-13])
def test_tiny_standard_deviations_lose_no_digits(std):
    mean = torch.randn(200, 5, dtype=torch.float64)
    mean[1] = mean[0]  # two images with one code
    log_std = torch.full_like(mean, math.log(std))
    z = mean + std * torch.randn_like(mean)
    conditional, marginal = info.exact_mixture(z, torch.arange(200), mean, log_std, block=64)
    difference = z - mean  # exact, by Sterbenz's lemma
    expected = -0.5 * (difference / std).square().sum(1) - 5 * (math.log(std) + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(conditional, expected, rtol=0, atol=1e-5)
    # all others are many standard deviations away
    torch.testing.assert_close((conditional - marginal)[2:], torch.full((198,), math.log(200)).double())
    other = -0.5 * ((z[0] - mean[1]) / std).square().sum() - 5 * (math.log(std) + 0.5 * math.log(2 * math.pi))
    both = torch.logaddexp(expected[0], other) - math.log(200)
    torch.testing.assert_close(marginal[0], both, rtol=0, atol=1e-5)


def test_both_ways_to_the_densities_agree():
    z, mean, log_std = torch.randn(3, 40, 6, dtype=torch.float64).unbind(0)
    expanded = info.log_densities(z, mean, log_std)
    exact = -0.5 * info.squared_distances(z, mean, log_std) - log_std.sum(1) - 3 * math.log(2 * math.pi)
    torch.testing.assert_close(expanded, exact, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("log_std", [math.log(1e-13), -math.inf])
def test_codes_that_cannot_hold_their_noise_are_refused(log_std):
    mean = torch.randn(20, 3)
    with pytest.raises(ValueError, match="below the resolution of z's torch.float32: draw z in float64"):
        info.exact_mixture(mean, torch.arange(20), mean, torch.full_like(mean, log_std))


def test_quantile_rule_integrates_logarithms():
    u, complement, w = info.quantile_rule()
    assert w @ np.log(u) == pytest.approx(-1, abs=1e-7) and w @ np.log(complement) == pytest.approx(-1, abs=1e-7)
    assert w @ u**2 == pytest.approx(1 / 3, abs=1e-7)
