"""The echo sampler against a plain loop, exact distributions and its own contract; rate and depth."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from helpers import echo

DTYPES = torch.float64, torch.float32, torch.float16, torch.bfloat16


def encoder(batch=13, width=3, dtype=torch.float64):
    return torch.randn(batch, width, dtype=dtype), 1.8 * torch.rand(batch, width, dtype=dtype) - 0.9


@pytest.mark.parametrize("depth", range(1, 14))
def test_doubling_is_the_loop_at_every_depth(depth):
    m, s = encoder()
    torch.testing.assert_close(echo.echo_cycle(m, s, depth), echo.echo_loop(m, s, depth), rtol=1e-13, atol=1e-13)


def test_the_loop_is_the_definition():
    m, s = encoder(5, 2)
    expected = sum(m.roll(-n, 0) * math.prod((s.roll(-k, 0) for k in range(n)), start=1) for n in range(4))
    torch.testing.assert_close(echo.echo_loop(m, s, 4), expected)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.sampled_from(DTYPES), st.integers(1, 40), st.integers(1, 5), st.floats(0, 1), st.integers(0, 2**31))
def test_a_sample_is_the_loop_in_an_order_of_the_batch(dtype, batch, width, share, seed):
    torch.manual_seed(seed)
    (m, s), depth = encoder(batch, width, dtype), 1 + int(share * (batch - 1))
    z = echo.echo_sample(m, s, depth, torch.Generator().manual_seed(seed))
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    expected = torch.empty_like(m)
    expected[order] = echo.echo_loop(m[order].double(), s[order].double(), depth).to(dtype)
    assert z.dtype == dtype and z.device == m.device
    torch.testing.assert_close(z, expected, rtol=20 * torch.finfo(dtype).eps, atol=20 * torch.finfo(dtype).eps)


def test_own_sample_first_all_others_once():
    batch = 9
    m = torch.eye(batch, dtype=torch.float64)  # column j counts the uses of sample j
    z = echo.echo_sample(m, torch.full_like(m, 0.5), batch)
    assert (z.diagonal() == 1).all()
    powers = 0.5 ** torch.arange(batch, dtype=torch.float64)
    torch.testing.assert_close(z.sort(1, descending=True).values, powers.expand(batch, -1))


def test_generator_decides_and_input_stays():
    m, s = encoder()
    before = m.clone(), s.clone()
    cases = (6, 1), (np.int64(6), 1), (6, 2)  # a depth of any integral type
    draws = [echo.echo_sample(m, s, depth, torch.Generator().manual_seed(seed)) for depth, seed in cases]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(m, before[0]) and torch.equal(s, before[1])


@pytest.mark.parametrize("depth", [1, 2, 5, 6])
def test_gradients(depth):
    sample = lambda m, s: echo.echo_sample(m, s, depth, torch.Generator().manual_seed(0))  # noqa: E731
    assert torch.autograd.gradcheck(sample, [tensor.requires_grad_() for tensor in encoder(6, 2)])


@pytest.mark.parametrize("case", ["uniform", "exponential", "beta"])
def test_exact_distributions(case):
    batch, columns = 48, 5000
    u, coin = torch.rand(2, batch, columns, dtype=torch.float64)
    if case == "uniform":
        exact, m, s = stats.uniform(-2, 4), 2 * (u > 0.5).double() - 1, torch.full_like(u, 0.5)
    elif case == "exponential":
        exact, m, s = stats.expon(), torch.where(coin < 0.4, 0.0, -u.log()), torch.full_like(u, 0.4)
    else:
        s = u ** (1 / 3)
        exact, m = stats.beta(1, 2), (1 - s) * (coin < 1 / 3)
    z = echo.echo_sample(m, s, batch)[0]  # a row: its columns are independent
    assert stats.kstest(z.numpy(), exact.cdf).statistic < 2.3 / math.sqrt(columns)


@pytest.mark.parametrize("depth", [0, -1, 14, 2.0, "deep", True])
def test_a_depth_beyond_the_batch_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth must be .* not {depth!r}"):
        echo.echo_sample(*encoder(), depth)


CONTRADICTIONS = {
    "one shape": [lambda m, s: (m, s[:, :2]), lambda m, s: (m[0], s[0])],
    "floating dtype": [lambda m, s: (m, s.float()), lambda m, s: (m.long(), s.long())],
    "finite": [lambda m, s: (m / 0, s), lambda m, s: (m, s * math.nan)],
}


@pytest.mark.parametrize(("message", "spoil"), [(key, spoil) for key, of in CONTRADICTIONS.items() for spoil in of])
def test_contradictions_are_refused(spoil, message):
    with pytest.raises(ValueError, match=message):
        echo.echo_sample(*spoil(*encoder()), 1)


def test_rate_has_the_sign_of_an_information():
    s = torch.tensor([[0.5, -0.25], [1.0, 1.0]])
    torch.testing.assert_close(echo.echo_rate(s), torch.tensor([math.log(8), 0.0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("bound, clip", [(1.0, 0.8359), (10.0, 0.95), (0.01, 0.5), (1e-9, 0.5)])
def test_depth_is_the_least_that_resolves(bound, clip, dtype):
    depth, eps = echo.echo_depth(bound, clip, dtype), torch.finfo(dtype).eps
    assert bound * clip**depth / (1 - clip) <= eps * (1 + 1e-9)
    assert depth == 1 or bound * clip ** (depth - 1) / (1 - clip) > eps


def test_depth_is_the_published_one_and_refuses_nonsense():
    assert echo.echo_depth(1.0, 0.8359) in (99, 100)
    for bound, clip in ((0.0, 0.5), (1.0, 1.0), (1.0, 0.0), (math.nan, 0.5), (math.inf, 0.5)):
        with pytest.raises(ValueError, match="need 0 < bound"):
            echo.echo_depth(bound, clip)
