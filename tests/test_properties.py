"""What holds for any input: shapes, dtypes, batches of one, scale, order; NaN and infinity are named."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import paths
from helpers.echo import echo_loop, echo_sample
from helpers.inversion import invert
from helpers.networks import Generator

settings.register_profile("suite", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("suite")
DTYPES = st.sampled_from([torch.float32, torch.float64])
POISON = st.sampled_from([math.nan, math.inf, -math.inf])
SEEDS = st.integers(0, 2**31)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(4, 16, 4).eval().requires_grad_(False)


@given(st.data(), DTYPES, SEEDS)
def test_an_echo_is_a_sum_over_one_cycle(data, dtype, seed):
    count, size = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    depth = data.draw(st.integers(1, count))
    m, s = (normal(count, size, seed=seed + k, dtype=dtype) for k in (0, 1))
    s = 0.9 * s.tanh()
    z = echo_sample(m, s, depth, torch.Generator().manual_seed(seed))
    assert z.shape == m.shape and z.dtype == dtype and z.isfinite().all()
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    close = {"atol": 1e-5 if dtype == torch.float32 else 1e-12}
    assert torch.allclose(z[order], echo_loop(m[order], s[order], depth), **close)


@given(st.integers(1, 9), POISON, st.booleans(), SEEDS)
def test_an_echo_of_what_is_not_finite_is_refused(count, poison, in_s, seed):
    m, s = normal(count, 3, seed=seed), torch.full((count, 3), 0.5)
    (s if in_s else m)[seed % count, 1] = poison
    with pytest.raises(ValueError, match="finite"):
        echo_sample(m, s, 1)


@given(st.integers(1, 4), st.integers(3, 12), st.integers(1, 5), DTYPES, SEEDS, st.floats(0.1, 10))
def test_energy_scales_with_the_codes_squared_and_has_no_direction(pairs, points, size, dtype, seed, scale):
    weight = normal(size, 7, seed=seed, dtype=dtype)
    G = lambda z: torch.tanh(z @ weight)  # noqa: E731
    stretched = lambda z: G(z / scale)  # noqa: E731
    path = normal(pairs, points, size, seed=seed + 1, dtype=dtype)
    x_a, x_b = normal(2, pairs, 7, seed=seed + 2, dtype=dtype)
    energy = paths.path_energy(G, path, x_a, x_b)
    assert energy.shape == (pairs,) and energy.dtype == dtype and (energy >= 0).all()
    close = {"rtol": 1e-4 if dtype == torch.float32 else 1e-9}
    assert torch.allclose(paths.path_energy(G, path.flip(1), x_b, x_a), energy, **close)
    assert torch.allclose(paths.path_energy(stretched, path * scale, x_a, x_b), energy * scale**2, **close)
    assert torch.allclose(paths.path_energy(G, path[0], x_a[0], x_b[0]), energy[0], **close)


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(3, 20), st.integers(1, 4), DTYPES, SEEDS)
def test_least_path_keeps_its_ends_and_its_bounds(pairs, points, size, dtype, seed):
    weight = normal(size, 7, seed=seed, dtype=dtype)
    G = lambda z: torch.tanh(z @ weight.to(z))  # noqa: E731
    z_a, z_b = normal(2, pairs, size, seed=seed + 1, dtype=dtype)
    found = paths.shortest_path(G, z_a, z_b, G(z_a), G(z_b), points)
    line = paths.path_energy(G, paths.linear_path(z_a, z_b, points).double(), G(z_a), G(z_b))
    assert found.path.shape == (pairs, points, size) and found.path.dtype == torch.float64
    assert torch.equal(found.path[:, 0], z_a.double()) and torch.equal(found.path[:, -1], z_b.double())
    assert (found.energy <= line * (1 + 1e-6) + 1e-12).all()
    assert (found.energy >= found.lower_bound * (1 - 1e-6) - 1e-12).all()


@settings(max_examples=10)
@given(st.integers(1, 3), st.integers(1, 3), DTYPES, SEEDS)
def test_inversion_reports_the_loss_of_its_own_codes(generator, count, restarts, dtype, seed):
    G = generator.to(dtype)
    images = normal(count, 1, 28, 28, seed=seed, dtype=dtype).clamp(-1, 1)
    found = invert(G, images, restarts, seed % 1000, iterations=2)
    assert found.z.shape == (count, restarts, 4) and found.z.dtype == dtype
    loss = (G(found.z.flatten(0, 1)).unflatten(0, (count, restarts)) - images[:, None]).square().sum((2, 3, 4))
    assert torch.allclose(found.loss, loss, rtol=1e-4)
    assert torch.equal(found.best(), found.z[torch.arange(count), found.loss.argmin(1)])
