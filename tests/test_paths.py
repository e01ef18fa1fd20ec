"""Paths against closed forms, against fast marching, and against what no path can beat."""

import math

import numpy as np
import pytest
import skfmm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from helpers import paths
from helpers.networks import ConvGenerator

DTYPES = torch.float32, torch.float64
CROSS_FADE = 2 * (0.5 + math.asinh(1) / math.sqrt(8)) ** 2  # ρ of a cross-fade at constant speed: 1.317


def small_generator(latent_dim=2):
    """A curved, saturating stand-in for a trained generator."""
    W, V = torch.randn(latent_dim, 16), torch.randn(16, 12)
    return lambda z: torch.tanh(torch.tanh(z @ W.to(z)) @ V.to(z))


def affine_pair(d=5, size=20):
    """An isometric affine generator: on it every minimiser of U and its energy are known."""
    basis = torch.linalg.qr(torch.randn(size, d, dtype=torch.float64))[0]
    z_a, z_b = torch.randn(2, d, dtype=torch.float64)
    return (lambda z: z @ basis.T), z_a, z_b, z_a @ basis.T, z_b @ basis.T


@pytest.fixture(scope="module")
def digits():
    torch.manual_seed(1)
    generator = ConvGenerator(8, 32, 8).eval()
    z = torch.randn(6, 8)
    return generator, z, generator(z).detach() + 0.1 * torch.randn(6, 1, 28, 28)


def test_cross_fade_is_four_thirds_by_midpoints():
    generator, z_a, z_b, x_a, x_b = affine_pair()
    bound = 0.5 * (x_a - x_b).square().sum() * (z_a - z_b).square().sum()
    for segments in (2, 10, 32):
        energy = paths.path_energy(generator, paths.linear_path(z_a, z_b, segments + 1), x_a, x_b)
        assert energy / bound == pytest.approx(4 / 3 - 1 / (3 * segments**2), rel=1e-12)


def test_cross_fade_at_constant_speed_is_the_minimum():
    generator, z_a, z_b, x_a, x_b = affine_pair()
    found = paths.shortest_path(generator, z_a, z_b, x_a, x_b, points=65)
    assert found.rho == pytest.approx(CROSS_FADE, rel=2e-4)
    assert found.speed_deviation < 0.01
    line = paths.linear_path(z_a, z_b, 513)
    even = paths.constant_speed(line, paths.conformal_density(paths.image_cost(generator, x_a, x_b), line).sqrt(), 513)
    assert paths.path_energy(generator, even, x_a, x_b) / found.lower_bound == pytest.approx(CROSS_FADE, rel=1e-4)


def test_hyperbolic_half_plane():
    a = torch.tensor([[0.0, 1.0], [-1.0, 0.5], [0.0, 0.3]], dtype=torch.float64)
    b = torch.tensor([[2.0, 1.0], [1.0, 2.0], [3.0, 0.4]], dtype=torch.float64)
    exact = torch.arccosh(1 + (a - b).square().sum(1) / (2 * a[:, 1] * b[:, 1])) ** 2
    cost = lambda z: z[..., 1].pow(-2)  # noqa: E731
    found = paths.minimise_energy(lambda p, rows: paths.conformal_density(cost, p), a, b, torch.zeros(3), points=65)
    torch.testing.assert_close(found.energy, exact, rtol=1e-3, atol=0)
    assert found.speed_deviation.max() < 0.01


def marching(cost, half_width, begin, end):
    """Squared least length from begin to end in the metric √c on a square grid: the least energy (Sethian 1996)."""
    axis = np.linspace(-half_width, half_width, 401)
    spacing, grid = axis[1] - axis[0], np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    root = np.sqrt(cost(torch.from_numpy(grid.reshape(-1, 2))).numpy()).reshape(401, 401)
    radius = 6 * spacing
    outside = np.linalg.norm(grid - np.array(begin), axis=-1) - radius
    times = skfmm.travel_time(outside, 1 / root, dx=[spacing, spacing], order=2)
    near = RegularGridInterpolator((axis, axis), root)(begin).item() * radius
    return (RegularGridInterpolator((axis, axis), np.abs(np.asarray(times)))(end).item() + near) ** 2


def test_two_dimensional_codes_against_fast_marching():
    generator = small_generator()
    z_a, z_b = torch.tensor([[-1.2, -0.6], [1.1, 0.9]], dtype=torch.float64)
    x_a, x_b = generator(z_a[None]), generator(z_b[None])
    found = paths.shortest_path(generator, z_a, z_b, x_a, x_b, points=129)
    least = marching(paths.image_cost(generator, x_a, x_b), 3, z_a.tolist(), z_b.tolist())
    assert found.energy == pytest.approx(least, rel=0.01)


def test_grid_is_refined_until_the_energy_settles():
    """The cross-fade's midpoint rule is off by 1/3T² in ρ, so the grid that is fine enough is known."""
    loose = paths.shortest_path(*affine_pair(), points=5)
    fine = paths.shortest_path(*affine_pair(), points=5, change=1e-5)
    assert loose.path.shape == (5, 5) and len(fine.path) in (65, 129, 257)
    assert abs(fine.rho - CROSS_FADE) < 2e-5 < 1e-3 < abs(loose.rho - CROSS_FADE)


def test_path_runs_at_constant_speed_where_the_energy_has_a_kink():
    kinked = lambda z: 1 + 5 * (z[..., 0] - 0.3).abs() + 3 * (z[..., 1] + 0.2 * z[..., 0]).abs()  # noqa: E731
    ends = torch.tensor([[[-1.0, 0.5]], [[1.0, 0.4]]], dtype=torch.float64)
    found = paths.minimise_energy(lambda path, rows: paths.conformal_density(kinked, path), *ends, torch.zeros(1), 65)
    assert found.speed_deviation.item() < 2e-3 < found.descent_deviation.item()
    assert found.energy.item() == pytest.approx(marching(kinked, 2, [-1.0, 0.5], [1.0, 0.4]), rel=0.01)


def test_result_is_what_it_says_and_an_optimum(digits):
    generator, z, x = digits
    found = paths.shortest_path(generator, z[0], z[1], x[0], x[1], points=65)
    energy = paths.path_energy(generator, found.path, x[0], x[1])
    line = paths.path_energy(generator, paths.linear_path(z[0], z[1], 65), x[0], x[1])
    assert found.path.shape == (65, 8) and torch.equal(found.path[[0, -1]].float(), z[:2])
    assert found.energy.item() == pytest.approx(energy.item(), rel=1e-5)
    assert found.lower_bound <= found.energy <= line * (1 + 1e-6)
    bound = 0.5 * (x[0] - x[1]).square().sum() * (z[0] - z[1]).square().sum()
    assert found.lower_bound == pytest.approx(bound.item(), rel=1e-5)
    assert found.rho == found.energy / found.lower_bound
    assert found.speed_deviation < 0.01 and found.residual < 0.02
    for size in (1e-3, 1e-2, 1e-1):
        path = found.path.clone()
        path[1:-1] += size * torch.randn(63, 8, dtype=torch.float64)
        assert paths.path_energy(generator, path, x[0], x[1]) > found.energy


def test_batch_agrees_with_single(digits):
    generator, z, x = digits
    batch = paths.shortest_path(generator, z[:3], z[3:], x[:3], x[3:], points=17)
    assert batch.path.shape == (3, 17, 8) and batch.energy.shape == batch.rho.shape == (3,)
    for row in range(3):
        single = paths.shortest_path(generator, z[row], z[3 + row], x[row], x[3 + row], points=17)
        assert single.energy == pytest.approx(batch.energy[row].item(), rel=1e-3)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(1, 4), st.integers(3, 12), st.integers(1, 5), st.sampled_from(DTYPES), st.floats(0.1, 10))
def test_energy_scales_with_the_codes_squared_and_has_no_direction(pairs, points, size, dtype, scale):
    G, path = small_generator(size), torch.randn(pairs, points, size, dtype=dtype)
    x_a, x_b = torch.randn(2, pairs, 12, dtype=dtype)
    energy = paths.path_energy(G, path, x_a, x_b)
    assert energy.shape == (pairs,) and energy.dtype == dtype and (energy >= 0).all()
    stretched = paths.path_energy(lambda z: G(z / scale), path * scale, x_a, x_b) / scale**2
    backwards = paths.path_energy(G, path.flip(1), x_b, x_a)
    alone = torch.stack([paths.path_energy(G, path[k], x_a[k], x_b[k]) for k in range(pairs)])
    for other in (stretched, backwards, alone):
        torch.testing.assert_close(other, energy, rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=0)


def test_energy_gradient_against_differences():
    generator, z_a, z_b, x_a, x_b = affine_pair()
    path = paths.slerp(z_a, z_b, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: paths.path_energy(generator, p, x_a, x_b), path)
    assert torch.autograd.gradcheck(lambda p: paths.pullback_density(generator, p).mean(), path)


def test_pullback_of_an_isometry_is_the_straight_line():
    generator, z_a, z_b, _, _ = affine_pair()
    found = paths.pullback_geodesic(generator, z_a, z_b)
    assert found.rho == pytest.approx(1, rel=1e-9) and found.speed_deviation < 1e-5
    assert torch.allclose(found.path, paths.linear_path(z_a, z_b), atol=1e-6)


def test_pullback_shortens_the_image_path(digits):
    generator, z, _ = digits
    found = paths.pullback_geodesic(generator, z[0], z[1])
    on_path, on_line = (paths.pullback_density(generator, p) for p in (found.path, paths.linear_path(z[0], z[1])))
    assert found.lower_bound * (1 - 1e-6) <= found.energy <= on_line.mean()
    assert on_path.sqrt().mean() <= on_line.sqrt().mean()


def test_evaluations_do_not_grow_with_the_grid_in_sine_waves():
    generator = small_generator(8)
    z_a, z_b = torch.randn(2, 3, 8, dtype=torch.float64)
    x_a, x_b = generator(z_a)[:, None, None], generator(z_b)[:, None, None]
    density = lambda p, r: paths.conformal_density(paths.image_cost(generator, x_a[r], x_b[r]), p)  # noqa: E731
    counts = []
    for points in (17, 65):
        found = paths.descend(density, paths.linear_path(z_a, z_b, points), paths.sine_basis(points - 1), 300, 1e-7)
        counts.append((found.trace <= 1.0005 * found.value).int().argmax(0).double().mean() + 1)
    assert counts[1] <= 1.2 * counts[0]


def test_slerp_keeps_the_norm_and_survives_extremes():
    z = torch.nn.functional.normalize(torch.randn(4, 6, dtype=torch.float64), dim=1)
    assert torch.allclose(paths.slerp(z[:2], z[2:]).norm(dim=-1), torch.ones(2, 33, dtype=torch.float64))
    for other in (z[0], -z[0]):
        assert torch.allclose(paths.slerp(z[0], other), paths.linear_path(z[0], other), atol=1e-6)
    assert torch.allclose(paths.slerp(3 * z[0], 3 * z[1])[[0, -1]], 3 * z[:2])


def test_constant_speed_gives_equal_shares():
    path = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    even = paths.constant_speed(path, path.diff(dim=0).norm(dim=1), 5)
    assert torch.allclose(even, torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]]), atol=1e-5)
    assert torch.allclose(paths.constant_speed(torch.ones(3, 2), torch.zeros(2), 7), torch.ones(7, 2))


def test_equal_ends_and_equal_images(digits):
    generator, z, x = digits
    still = paths.shortest_path(generator, z[0], z[0], x[0], x[1], points=9)
    assert still.energy == 0 and still.lower_bound == 0 and still.rho == 1 and still.speed_deviation == 0
    same = paths.shortest_path(generator, z[0], z[1], x[0], x[0], points=9)
    assert same.lower_bound == 0 and same.energy > 0 and same.rho == math.inf


REFUSED = [
    ({"points": 2}, "points"), ({"points": 2.5}, "points"), ({"z_b": torch.zeros(7)}, "z_b"),
    ({"z_b": torch.full((8,), math.nan)}, "finite"), ({"x_b": torch.full((1, 28, 28), math.inf)}, "finite"),
    ({"x_b": torch.zeros(2, 1, 28, 28)}, "must be one image of 784 pixels"),
    ({"x_a": torch.zeros(3, 32, 32)}, "must be one image of 784 pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "word"), REFUSED)
def test_bad_input_is_named(digits, change, word):
    generator, z, x = digits
    arguments = {"z_a": z[0], "z_b": z[1], "x_a": x[0], "x_b": x[1], "points": 9} | change
    with pytest.raises(ValueError, match=word):
        paths.shortest_path(generator, **arguments)


@pytest.mark.parametrize("path", [torch.zeros(8), torch.zeros(2, 8), torch.full((5, 8), math.nan)])
def test_bad_path_is_named(digits, path):
    with pytest.raises(ValueError, match="path"):
        paths.path_energy(digits[0], path, *digits[2][:2])


def test_one_pair_of_images_serves_several_pairs_of_codes(digits):
    generator, z, x = digits
    repeated = paths.shortest_path(generator, z[:3], z[3:], x[:1].expand(3, -1, -1, -1), x[3:], points=9)
    for one in (x[0], x[:1]):
        assert torch.equal(paths.shortest_path(generator, z[:3], z[3:], one, x[3:], points=9).path, repeated.path)
    both = paths.shortest_path(generator, z[:3], z[3:], x[0], x[1], points=9)
    expected = 0.5 * (x[0] - x[1]).square().sum() * (z[:3] - z[3:]).square().sum(1)
    torch.testing.assert_close(both.lower_bound.float(), expected)


def test_the_energy_takes_one_or_all_end_images_and_refuses_other_numbers(digits):
    generator, z, x = digits
    path = paths.linear_path(z[:3], z[3:], 5)
    mixed = paths.path_energy(generator, path, x[0], x[3:])
    torch.testing.assert_close(mixed, paths.path_energy(generator, path, x[:1].expand(3, -1, -1, -1), x[3:]))
    for a, b in ((x[:2], x[3:]), (x[:3], x[:6]), (x[:3, :, :14], x[3:])):
        with pytest.raises(ValueError, match="must be one image or 3 of 784 pixels"):
            paths.path_energy(generator, path, a, b)


def test_whole_numbers_give_the_same_paths_as_floating_point():
    z_a, z_b = torch.tensor([0, 3]), torch.tensor([1, -2])
    for curve in (paths.linear_path, paths.slerp):
        assert torch.equal(curve(z_a, z_b, 5), curve(z_a.float(), z_b.float(), 5))
    assert paths.linear_path(z_a, z_b, 5)[2].tolist() == [0.5, 0.5]
    G, x = small_generator(), torch.rand(2, 12)
    whole = paths.shortest_path(G, z_a, z_b, *x, points=9)
    assert torch.equal(whole.path, paths.shortest_path(G, z_a.float(), z_b.float(), *x, points=9).path)


@pytest.mark.parametrize("layer", [torch.nn.BatchNorm1d(12), torch.nn.Dropout()])
def test_a_generator_in_training_mode_is_refused_and_left_alone(layer):
    G = torch.nn.Sequential(torch.nn.Linear(2, 12), layer, torch.nn.Tanh())
    z, x = torch.randn(2, 2), torch.randn(2, 12)
    before = {key: tensor.clone() for key, tensor in G.state_dict().items()}
    calls = [
        lambda: paths.shortest_path(G, *z, *x, points=5),
        lambda: paths.path_energy(G, paths.linear_path(*z, 5), *x),
        lambda: paths.pullback_geodesic(G, *z, points=5),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"in training mode: call generator.eval\(\) first"):
            call()
    assert all(torch.equal(tensor, before[key]) for key, tensor in G.state_dict().items())
    G.eval()
    for call in calls:
        call()


def test_validation_decodes_one_code(monkeypatch):
    monkeypatch.setattr(paths, "minimise_energy", lambda *_, **__: None)
    decoded = []

    def generator(z):
        decoded.append(len(z))
        return z

    paths.shortest_path(generator, *torch.randn(4, 3, 2), points=33)
    assert decoded == [1]


def test_nearest_image_bounds_rho():
    x_a, x_b = torch.rand(2, 3, 1, 4, 4, dtype=torch.float64)
    ends = paths.nearest_image_ratio(torch.cat([x_a[:1], x_b[:1]]), x_a[:1], x_b[:1])
    torch.testing.assert_close(ends, torch.full((1,), 2.0, dtype=torch.float64))
    images = torch.rand(50, 1, 4, 4, dtype=torch.float64)
    found = paths.nearest_image_ratio(images, x_a, x_b)
    cost = paths.image_cost(lambda z: images, x_a[0], x_b[0])(torch.zeros(50, 1, dtype=torch.float64))
    bound = (x_a[0] - x_b[0]).square().sum() / 2
    torch.testing.assert_close(found[0], cost.min() / bound)


@pytest.mark.parametrize("curved", [False, True])
def test_softest_direction_is_that_of_the_whole_hessian(curved):
    cost = (lambda z: 1 + z[..., 0].square() - 0.3 * z[..., 1].cos()) if curved else (lambda z: 3 + 0 * z[..., 0])
    path = paths.linear_path(*torch.randn(2, 2, dtype=torch.float64), 9)
    basis = paths.sine_basis(8)

    def energy(y):
        inner = path[1:-1] + basis @ y.reshape(7, 2)
        return paths.conformal_density(cost, torch.cat([path[:1], inner, path[-1:]])).mean()

    whole = torch.func.hessian(energy)(torch.zeros(14, dtype=torch.float64))
    kinetic, least = paths.kinetic_energy(path[None])[0], energy(torch.zeros(14, dtype=torch.float64))
    unit = 2 * least / kinetic
    found, direction = paths.softest_direction(lambda p, rows: paths.conformal_density(cost, p), path)
    assert found == pytest.approx((torch.linalg.eigvalsh(whole)[0] / unit).item(), rel=1e-4)
    assert curved or found == pytest.approx(1, rel=1e-9)
    assert paths.kinetic_energy(direction[None])[0] == pytest.approx(kinetic.item()) and not direction[[0, -1]].any()
