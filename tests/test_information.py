"""Estimators of I(x, z) against hand-made matrices and known informations; the quadrature and FFT behind the echo's."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from helpers import information as info


def linear_gaussian(count, rate, dimensions=4):
    tau = math.exp(-2 * rate / dimensions)
    mean = math.sqrt(1 - tau) * torch.randn(count, dimensions, dtype=torch.float64)
    log_std = torch.full_like(mean, 0.5 * math.log(tau))
    return mean + math.sqrt(tau) * torch.randn_like(mean), mean, log_std


def test_log_densities_are_those_of_torch():
    z, mean, log_std = torch.randn(3, 5, 2).unbind(0)
    normal = torch.distributions.Normal(mean.double(), log_std.double().exp())
    expected = normal.log_prob(z.double().unsqueeze(1)).sum(-1)
    torch.testing.assert_close(info.log_densities(z, mean, log_std), expected)


def test_estimators_on_a_matrix_by_hand():
    q = torch.tensor([[4.0, 1.0, 1.0], [2.0, 3.0, 1.0], [5.0, 1.0, 9.0]], dtype=torch.float64)
    own, others = q.diagonal(), q.sum(1) - q.diagonal()
    N = 100
    torch.testing.assert_close(info.in_batch(q.log()), (own / (q.sum(1) / 3)).log())
    torch.testing.assert_close(info.leave_one_out(q.log()), (own / (others / 2)).log())
    torch.testing.assert_close(info.minibatch_weighted(q.log(), N), (own / (q.sum(1) / (3 * N))).log())
    torch.testing.assert_close(info.stratified(q.log(), N), (own / (own / N + (N - 1) / N * others / 2)).log())


def test_ceilings_when_codes_are_far_apart():
    z = 1000.0 * torch.arange(8, dtype=torch.float64).unsqueeze(1)
    logq = info.log_densities(z, z, torch.zeros_like(z))
    torch.testing.assert_close(info.in_batch(logq), torch.full((8,), math.log(8), dtype=torch.float64))
    torch.testing.assert_close(info.minibatch_weighted(logq, 50), torch.full((8,), math.log(400), dtype=torch.float64))
    torch.testing.assert_close(info.stratified(logq, 50), torch.full((8,), math.log(50), dtype=torch.float64))
    assert (info.leave_one_out(logq) > 1e5).all()


def test_no_information_in_a_constant_encoder():
    logq = info.log_densities(torch.randn(6, 2), torch.zeros(6, 2), torch.zeros(6, 2))
    for values in (info.in_batch(logq), info.leave_one_out(logq), info.stratified(logq, 100)):
        torch.testing.assert_close(values, torch.zeros(6, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("rate", [0.5, 2.0, 6.0])
def test_bounds_enclose_the_truth(rate):
    matrices = [info.log_densities(*linear_gaussian(256, rate)) for _ in range(12)]
    lower, upper = (torch.tensor([f(q).mean() for q in matrices]) for f in (info.in_batch, info.leave_one_out))
    assert lower.mean() < rate + 5 * lower.std() / 12**0.5 and lower.mean() <= math.log(256)
    assert upper.mean() > rate - 5 * upper.std() / 12**0.5
    if rate < 1:  # where the batch suffices both are right
        assert lower.mean().item() == pytest.approx(rate, abs=0.1) and upper.mean().item() == pytest.approx(
            rate, abs=0.1
        )


def test_exact_mixture_is_in_batch_on_the_whole_population():
    z, mean, log_std = linear_gaussian(300, 3.0)
    own = torch.randperm(300)[:70]
    conditional, marginal = info.exact_mixture(z[own], own, mean, log_std, block=32)
    torch.testing.assert_close(conditional - marginal, info.in_batch(info.log_densities(z, mean, log_std))[own])


@pytest.mark.parametrize("estimate", [info.in_batch, info.leave_one_out])
def test_only_square_matrices(estimate):
    with pytest.raises(ValueError, match="square"):
        estimate(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="at least 2"):
        info.leave_one_out(torch.zeros(1, 1))


def test_quantile_rule_integrates_logarithms():
    u, complement, w = info.quantile_rule()
    assert w @ np.log(u) == pytest.approx(-1, abs=1e-7) and w @ np.log(complement) == pytest.approx(-1, abs=1e-7)
    assert w @ u**2 == pytest.approx(1 / 3, abs=1e-7)


def test_information_of_a_gaussian_echo():
    u, _, w = info.quantile_rule(80)
    s, m = 0.6, stats.norm.ppf(u)
    right = info.information_by_quadrature(stats.norm(0, 1.25), w, m, np.full_like(m, s), 80)
    wrong = info.information_by_quadrature(stats.norm(0, 1.5), w, m, np.full_like(m, s), 80)
    assert right == pytest.approx(-math.log(s), abs=1e-5) and abs(wrong + math.log(s)) > 0.05


def test_entropy_of_a_uniform_and_of_a_smoothed_one():
    assert info.smoothed_entropy(0.5, 1e-3, 2**15) == pytest.approx(math.log(4), abs=2e-3)
    with pytest.raises(ValueError, match="more points"):
        info.smoothed_entropy(0.5, 1e-6, 2**10)


def test_information_is_dimension_times_the_formula():
    golden = (math.sqrt(5) - 1) / 2
    assert info.smoothed_information(0.3, 1e-3, 2**16) == pytest.approx(math.log(2), abs=1e-6)  # Cantor: one bit
    assert info.smoothed_information(golden, 1e-3, 2**16) == pytest.approx(0.9957131 * -math.log(golden), abs=5e-5)
    assert info.smoothed_information(0.75, 2e-3, 2**16) == pytest.approx(-math.log(0.75), abs=5e-6)
