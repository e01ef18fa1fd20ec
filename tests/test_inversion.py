"""Inversion: known minima are kept and found, the defaults converge, bad input is refused."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from helpers import data, inversion
from helpers.gan import load_generator
from helpers.inversion import PRIOR, RESTARTS, gradient_descent, invert, objective, quasi_newton, starts
from helpers.networks import ConvGenerator


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
    return ConvGenerator(latent_dim=6, width=32, channels=8).double().eval().requires_grad_(False)


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
        ({"images": torch.zeros(784)}, r"\(n, 1, 28, 28\), not \(784,\)"),
        ({"images": torch.zeros(2, 784)}, r"\(784,\), but the generator outputs \(1, 28, 28\)"),
        ({"images": torch.zeros(2, 3, 32, 32)}, r"\(3, 32, 32\), but the generator outputs \(1, 28, 28\)"),
        ({"images": torch.zeros(1, 1, 28, 28, dtype=torch.uint8)}, "not torch.uint8: use x / 127.5 - 1"),
        ({"images": np.zeros((1, 1, 28, 28), np.float32)}, r"not ndarray: use torch.as_tensor\(images\)"),
        ({"latent_dim": 0}, "latent_dim must be"),
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


def test_starts_are_standard_normal_and_follow_the_seed_alone():
    rng = torch.Generator().manual_seed(3)
    assert torch.equal(starts(2, 4, 6, 3), torch.randn(2, 4, 6, generator=rng))
    assert starts(1, 1, 1, 0).dtype == torch.float32


def test_invert_begins_at_the_starts(generator, monkeypatch):
    monkeypatch.setattr(inversion, "gradient_descent", lambda G, x, z, steps, prior: z)
    monkeypatch.setattr(inversion, "quasi_newton", lambda G, x, z, evaluations, prior: z)
    found = invert(generator, generator(torch.zeros(2, 6, dtype=torch.float64)), 3, seed=7)
    assert torch.equal(found.z, starts(2, 3, 6, 7).double())


WEIGHTS = torch.randn(4, 3 * 32 * 32, generator=torch.Generator().manual_seed(0)) / 4


def colour_generator(z):
    """A plain function from codes (N, 4) to images (N, 3, 32, 32)."""
    return torch.tanh(z @ WEIGHTS.to(z)).reshape(-1, 3, 32, 32)


class ColourModule(nn.Module):
    """The same as a module that says nothing of its latent dimensions and has no weights."""

    def forward(self, z):
        return colour_generator(z)


@pytest.mark.parametrize("generator", [colour_generator, ColourModule()])
def test_a_function_and_a_module_of_another_image_size_are_inverted(generator):
    images = generator(torch.randn(2, 4, dtype=torch.float64))
    found = invert(generator, images, prior=0.0, latent_dim=4)
    assert found.z.shape == (2, RESTARTS, 4) and found.z.dtype == torch.float64
    assert found.loss.min(1).values.max() < 1e-12
    with pytest.raises(ValueError, match="no attribute latent_dim: pass"):
        invert(generator, images)


def test_the_objective_takes_images_of_any_layout(generator):
    x, z = torch.randn(3, 1, 28, 28, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)
    values = objective(generator, x.flatten(1), z, 0.1)
    assert torch.equal(objective(generator, x, z, 0.1), values)
    for one in (x[0], x[:1], x[0].flatten()):
        torch.testing.assert_close(objective(generator, one, z, 0.1)[0], values[0])


MODES = {
    "BatchNorm1d": lambda: nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.Tanh()),
    "Dropout": lambda: nn.Sequential(nn.Linear(4, 9), nn.Dropout(), nn.Tanh()),
    "AlphaDropout": lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 9), nn.AlphaDropout()), nn.Tanh()),
}


@pytest.mark.parametrize("layer", MODES)
def test_a_generator_in_training_mode_is_refused_and_left_alone(layer):
    G = MODES[layer]()
    before = copy.deepcopy(G.state_dict())
    with pytest.raises(ValueError, match=rf"{layer} is in training mode: call generator.eval\(\) first"):
        invert(G, torch.full((2, 9), -0.5), latent_dim=4)
    assert all(torch.equal(tensor, before[key]) for key, tensor in G.state_dict().items())
    assert invert(G.eval(), torch.full((2, 9), -0.5), latent_dim=4, evaluations=1).z.shape == (2, RESTARTS, 4)


def test_digits_on_white_or_from_0_to_1_are_warned_of_and_no_mnist_digit_is(monkeypatch):
    monkeypatch.setattr(inversion, "gradient_descent", lambda G, x, z, steps, prior: z)
    monkeypatch.setattr(inversion, "quasi_newton", lambda G, x, z, evaluations, prior: z)
    G, images = load_generator("gan"), data.mnist("test")[0]
    with pytest.warns(UserWarning, match=r"look like \[0, 1\]: use 2 \* x - 1"):
        invert(G, (images[:3] + 1) / 2)
    with pytest.warns(UserWarning, match=r"look like \[0, 1\]"):
        invert(G, (1 - images[:3]) / 2)
    with pytest.warns(UserWarning, match="dark ink on white: negate"):
        invert(G, torch.cat([images[:1], -images[1:2]]))


def test_no_mnist_digit_and_no_light_colour_image_is_warned_of():
    images, black = data.mnist("test")[0], -torch.ones(1, 1, 28, 28)
    colours = colour_generator(torch.randn(50, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        inversion.warn_of_background(images, black)
        for image in images:
            inversion.warn_of_background(image.unsqueeze(0), black)
        inversion.warn_of_background((colours + 0.5).clamp(-1, 1), colours)
