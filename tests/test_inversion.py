"""Inversion: known minima are kept and found, the defaults converge, bad input is refused."""

import copy

import pytest
import torch
from torch import nn

from helpers import data, inversion
from helpers.gan import load_generator
from helpers.inversion import PRIOR, RESTARTS, gradient_descent, invert, objective, quasi_newton
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


@pytest.mark.parametrize("prior", [0.0, 0.7])
def test_affine_generator_gives_the_ridge_regression(prior):
    torch.manual_seed(1)
    G, images = Linear(), torch.rand(3, 1, 28, 28, dtype=torch.float64) * 2 - 1
    W, b = G.map.weight, G.map.bias
    exact = torch.linalg.solve(W.T @ W + prior * torch.eye(5), W.T @ (images.flatten(1) - b).T).T
    found = invert(G, images, restarts=2, prior=prior)
    torch.testing.assert_close(found.z, exact[:, None].expand_as(found.z), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.loss[:, 0], (G(exact) - images).square().sum((1, 2, 3)), rtol=1e-6, atol=0)


def test_result_is_what_it_says_and_bfgs_lowers_the_objective(generator):
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    before, after = (invert(generator, images, 3, prior=0.01, evaluations=n) for n in (1, 200))
    assert after.z.shape == (2, 3, 6) and after.loss.shape == after.objective.shape == (2, 3)
    torch.testing.assert_close(after.loss[:, 1], objective(generator, images.flatten(1), after.z[:, 1]))
    torch.testing.assert_close(after.objective[:, 1], objective(generator, images.flatten(1), after.z[:, 1], 0.01))
    assert torch.equal(after.best()[0], after.z[0, after.objective[0].argmin()])
    assert (after.objective <= before.objective).all()


def test_start_at_the_solution_stays(generator):
    z = torch.randn(8, 6, dtype=torch.float64)
    x = generator(z).flatten(1)
    assert objective(generator, x, quasi_newton(generator, x, z, 20)).max() < 1e-20


@pytest.mark.parametrize("name", ["gan", "wgan-gp"])
def test_the_defaults_converge_on_digits_that_no_notebook_inverts(name):
    G, images = load_generator(name), data.mnist("test")[0][5000:5008]
    found = invert(G, images)
    x, z = images.double().flatten(1).repeat_interleave(RESTARTS, 0), found.z.flatten(0, 1).double()
    G = copy.deepcopy(G).double()
    further = quasi_newton(G, x, z, 1500, PRIOR)
    converged = objective(G, x, z, PRIOR) <= 1.001 * objective(G, x, further, PRIOR)
    assert converged.double().mean() >= 0.9


def test_gradient_descent_descends_and_leaves_the_generator_alone(generator):
    x, z = generator(torch.randn(4, 6, dtype=torch.float64)).flatten(1), torch.zeros(4, 6, dtype=torch.float64)
    after = objective(generator, x, gradient_descent(generator, x, z, 60)).sum()
    assert after < 0.5 * objective(generator, x, z).sum()
    assert not any(p.requires_grad or p.grad is not None for p in generator.parameters())


def test_same_seed_same_result_whatever_the_chunks(generator, monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", 10)
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    whole, other = (invert(generator, images, 3, seed, evaluations=20) for seed in (5, 6))
    monkeypatch.setattr(inversion, "CHUNK", 2)
    parts = invert(generator, images, 3, seed=5, evaluations=20)
    torch.testing.assert_close(whole.z, parts.z, rtol=0, atol=1e-8)
    assert not torch.equal(whole.z, other.z)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(0, 1, 28, 28)}, "n ≥ 1"),
        ({"images": torch.zeros(2, 784)}, r"\(n, 1, 28, 28\)"),
        ({"images": torch.full((1, 1, 28, 28), 255.0)}, "rescale"),
        ({"images": torch.full((1, 1, 28, 28), float("nan"))}, "finite"),
        ({"restarts": 0}, "restarts must be"),
        ({"evaluations": 0}, "evaluations must be"),
        ({"seed": "x"}, "seed must be"),
        ({"prior": -1.0}, "prior"),
        ({"prior": float("nan")}, "prior"),
    ],
)
def test_bad_input_is_refused(generator, change, message):
    with pytest.raises(ValueError, match=message):
        invert(generator, **{"images": torch.zeros(1, 1, 28, 28), "restarts": 1} | change)
