"""Inversion: known minima are kept and found, the loss never rises, bad input is refused."""

import pytest
import torch
from torch import nn

from helpers.inversion import gradient_descent, invert, levenberg_marquardt
from helpers.networks import Generator


class Linear(nn.Module):
    """An affine generator, for which the least-squares solution is known."""

    latent_dim = 5

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(5, 784, dtype=torch.float64)
        nn.init.normal_(self.map.weight, std=0.05)

    def forward(self, z):
        return self.map(z).reshape(-1, 1, 28, 28)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(latent_dim=6, width=32, channels=8).double().eval().requires_grad_(False)


def test_affine_generator_gives_the_least_squares_solution():
    torch.manual_seed(1)
    G, images = Linear(), torch.rand(3, 1, 28, 28, dtype=torch.float64) * 2 - 1
    exact = torch.linalg.lstsq(G.map.weight, (images.flatten(1) - G.map.bias).T).solution.T
    found = invert(G, images, restarts=4, steps=5)
    torch.testing.assert_close(found.z, exact[:, None].expand_as(found.z), rtol=0, atol=1e-4)
    assert found.grad_norm.max() < 1e-3


def test_prior_gives_the_ridge_solution():
    G, images = Linear(), torch.zeros(1, 1, 28, 28, dtype=torch.float64)
    W, b = G.map.weight, G.map.bias
    exact = torch.linalg.solve(W.T @ W + 0.7 * torch.eye(5), W.T @ -b)
    found = invert(G, images, restarts=2, steps=5, prior=0.7)
    torch.testing.assert_close(found.z[0, 0], exact, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.loss[0, 0], (G(exact[None]) - images).square().sum(), rtol=1e-6, atol=0)


def test_result_is_what_it_says(generator):
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    found = invert(generator, images, restarts=3, steps=30, iterations=20)
    assert found.z.shape == (2, 3, 6) and found.loss.shape == found.grad_norm.shape == (2, 3)
    again = (generator(found.z.flatten(0, 1)).reshape(2, 3, -1) - images.reshape(2, 1, -1)).square().sum(-1)
    torch.testing.assert_close(found.loss, again)
    assert torch.equal(found.best()[0], found.z[0, found.loss[0].argmin()])


def test_gradient_norm_is_that_of_the_loss(generator):
    image = generator(torch.randn(1, 6, dtype=torch.float64))
    found = invert(generator, image, restarts=1, steps=3, iterations=1)
    z = found.z[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad((generator(z) - image).square().sum(), z)
    torch.testing.assert_close(found.grad_norm[0, 0], slope.norm())


def test_start_at_the_solution_stays_and_the_loss_never_rises(generator):
    z = torch.randn(8, 6, dtype=torch.float64)
    x = generator(z).flatten(1)
    assert levenberg_marquardt(generator, x, z, 3)[1].max() < 1e-20
    start = torch.randn(8, 6, dtype=torch.float64)
    losses = [(generator(start).flatten(1) - x).square().sum(1)]
    losses += [levenberg_marquardt(generator, x, start, k, gain=0)[1] for k in (1, 4, 12)]
    assert all((later <= earlier + 1e-12).all() for earlier, later in zip(losses, losses[1:], strict=False))
    assert losses[-1].median() < 0.1 * losses[0].median()


def test_gradient_descent_descends_and_leaves_the_generator_alone(generator):
    x, z = generator(torch.randn(4, 6, dtype=torch.float64)).flatten(1), torch.zeros(4, 6, dtype=torch.float64)
    before = (generator(z).flatten(1) - x).square().sum()
    assert (generator(gradient_descent(generator, x, z, 60)).flatten(1) - x).square().sum() < 0.5 * before
    assert not any(p.requires_grad or p.grad is not None for p in generator.parameters())


def test_quasi_newton_goes_on_where_gradient_descent_stopped(generator):
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    before = invert(generator, images, restarts=3, steps=30, iterations=0)
    after = invert(generator, images, restarts=3, steps=30, iterations=0, evaluations=200)
    assert (after.loss <= before.loss).all() and after.loss.median() < 1e-3 * before.loss.median()


@pytest.mark.parametrize("options", [{"iterations": 5}, {"iterations": 0, "evaluations": 50}])
def test_a_radius_holds_the_length_of_the_code(generator, options):
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    found = invert(generator, images, restarts=3, steps=30, radius=2.0, **options)
    torch.testing.assert_close(found.z.norm(dim=-1), torch.full((2, 3), 2.0, dtype=torch.float64))
    again = (generator(found.z.flatten(0, 1)).reshape(2, 3, -1) - images.reshape(2, 1, -1)).square().sum(-1)
    torch.testing.assert_close(found.loss, again)


@pytest.mark.parametrize("option", [{"prior": -1.0}, {"prior": float("nan")}, {"radius": 0.0}])
def test_bad_options_are_refused(generator, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        invert(generator, torch.zeros(1, 1, 28, 28), 1, **option)


def test_same_seed_same_result_whatever_the_chunks(generator):
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    whole, parts = (invert(generator, images, 3, seed=5, steps=10, iterations=5, chunk=c) for c in (64, 2))
    torch.testing.assert_close(whole.z, parts.z, rtol=0, atol=1e-8)
    assert not torch.equal(whole.z, invert(generator, images, 3, seed=6, steps=10, iterations=5).z)


@pytest.mark.parametrize(
    ("images", "restarts", "message"),
    [
        (torch.zeros(0, 1, 28, 28), 1, "n ≥ 1"),
        (torch.zeros(2, 784), 1, r"\(n, 1, 28, 28\)"),
        (torch.full((1, 1, 28, 28), 255.0), 1, "rescale"),
        (torch.full((1, 1, 28, 28), float("nan")), 1, "NaN"),
        (torch.zeros(1, 1, 28, 28), 0, "at least 1"),
    ],
)
def test_bad_input_is_refused(generator, images, restarts, message):
    with pytest.raises(ValueError, match=message):
        invert(generator, images, restarts)
