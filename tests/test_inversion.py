"""Inversion: known minima are kept and found, the loss never rises, bad input is refused."""

import pytest
import torch
from torch import nn

from helpers import inversion
from helpers.inversion import gradient_descent, invert, levenberg_marquardt, objective
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


@pytest.mark.parametrize("budget", [{"iterations": 150}, {"iterations": 0, "evaluations": 100}])
@pytest.mark.parametrize("prior", [0.0, 0.7])
def test_affine_generator_gives_the_ridge_regression(prior, budget):
    torch.manual_seed(1)
    G, images = Linear(), torch.rand(3, 1, 28, 28, dtype=torch.float64) * 2 - 1
    W, b = G.map.weight, G.map.bias
    exact = torch.linalg.solve(W.T @ W + prior * torch.eye(5), W.T @ (images.flatten(1) - b).T).T
    found = invert(G, images, restarts=2, prior=prior, **budget)
    torch.testing.assert_close(found.z, exact[:, None].expand_as(found.z), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.loss[:, 0], (G(exact) - images).square().sum((1, 2, 3)), rtol=1e-6, atol=0)


def test_result_is_what_it_says_and_both_polishes_lower_the_loss(generator):
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    before, by_lm, by_bfgs = (
        invert(generator, images, 3, iterations=iterations, evaluations=evaluations)
        for iterations, evaluations in ((0, 0), (20, 0), (0, 200))
    )
    for found in (by_lm, by_bfgs):
        assert found.z.shape == (2, 3, 6) and found.loss.shape == (2, 3)
        torch.testing.assert_close(found.loss[:, 1], objective(generator, images.flatten(1), found.z[:, 1]))
        assert torch.equal(found.best()[0], found.z[0, found.loss[0].argmin()])
        assert (found.loss <= before.loss).all()
    assert by_bfgs.loss.median() < 1e-3 * before.loss.median()


def test_start_at_the_solution_stays_and_the_loss_never_rises(generator):
    z = torch.randn(8, 6, dtype=torch.float64)
    x = generator(z).flatten(1)
    assert objective(generator, x, levenberg_marquardt(generator, x, z, 3)).max() < 1e-20
    start = torch.randn(8, 6, dtype=torch.float64)
    losses = [objective(generator, x, levenberg_marquardt(generator, x, start, k, gain=0)) for k in (0, 1, 4, 12)]
    assert all((later <= earlier + 1e-12).all() for earlier, later in zip(losses, losses[1:], strict=False))
    assert losses[-1].median() < 0.1 * losses[0].median()


def test_gradient_descent_descends_and_leaves_the_generator_alone(generator):
    x, z = generator(torch.randn(4, 6, dtype=torch.float64)).flatten(1), torch.zeros(4, 6, dtype=torch.float64)
    after = objective(generator, x, gradient_descent(generator, x, z, 60)).sum()
    assert after < 0.5 * objective(generator, x, z).sum()
    assert not any(p.requires_grad or p.grad is not None for p in generator.parameters())


def test_same_seed_same_result_whatever_the_chunks(generator, monkeypatch):
    monkeypatch.setattr(inversion, "STEPS", 10)
    images = generator(torch.randn(2, 6, dtype=torch.float64))
    whole, other = (invert(generator, images, 3, seed, iterations=5) for seed in (5, 6))
    monkeypatch.setattr(inversion, "CHUNK", 2)
    parts = invert(generator, images, 3, seed=5, iterations=5)
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
        ({"iterations": -1}, "iterations must be"),
        ({"seed": "x"}, "seed must be"),
        ({"prior": -1.0}, "prior"),
        ({"prior": float("nan")}, "prior"),
    ],
)
def test_bad_input_is_refused(generator, change, message):
    with pytest.raises(ValueError, match=message):
        invert(generator, **{"images": torch.zeros(1, 1, 28, 28), "restarts": 1} | change)
