"""The exactly solvable echo encoders: their rates, and the distributions of their codes."""

import math

import numpy as np
import pytest
from scipy import stats

from helpers import echo_cases
from helpers.information import quantile_rule

NODES = 60


@pytest.fixture(params=echo_cases.CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> echo_cases.Case:
    return request.param


def test_the_rate_is_the_mean_of_minus_log_s(case: echo_cases.Case) -> None:
    u, _, weights = quantile_rule(NODES)
    assert math.isclose(sum(case.probabilities), 1)
    total = 0.0
    for k, probability in enumerate(case.probabilities):
        _, s = case.encoder(k, u, 0.5)  # no s depends on v
        total -= probability * (np.broadcast_to(np.log(s), u.shape) @ weights)
    assert math.isclose(total, case.rate, rel_tol=1e-9)


def test_the_integrated_information_is_the_rate(case: echo_cases.Case) -> None:
    tolerance = 3e-3 * (40 / NODES) ** 2 if case.encoder is echo_cases.laplace else 1e-7  # its density has a kink
    assert abs(echo_cases.information(case, NODES) - case.rate) < tolerance


def test_the_code_has_the_distribution_of_its_noise(case: echo_cases.Case) -> None:
    """m + s·z₁ with z₁ ~ q(z) has the distribution q(z), too: without the sampler."""
    rng = np.random.default_rng(0)
    k = rng.choice(len(case.probabilities), 5000, p=case.probabilities)
    m, s = case.encoder(k, *rng.random((2, 5000)))
    z = m + s * case.marginal.ppf(rng.random(5000))
    assert stats.kstest(z, case.marginal.cdf).statistic < 2.3 / math.sqrt(5000)


def test_samples_have_the_stated_distribution_and_follow_the_seed(case: echo_cases.Case) -> None:
    first, again, other = (echo_cases.sample(case, 2000, 48, seed) for seed in (0, 0, 1))
    assert first.shape == (2000,) and (first == again).all() and (first != other).any()
    assert echo_cases.distance(case, 2000, 48, 0) < 2.3 / math.sqrt(2000)
