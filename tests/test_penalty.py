"""The gradient penalty against closed forms, and its two forms against each other."""

import pytest
import torch
import torch.nn.functional as F

from helpers.networks import Critic
from helpers.penalty import gradient_penalty, piecewise_linear_penalty


@pytest.mark.parametrize("length", [0.0, 0.5, 1.0, 3.0])
def test_penalty_of_a_linear_critic(length):
    w = F.normalize(torch.randn(784, dtype=torch.float64), dim=0) * length
    real, fake = torch.randn(2, 16, 1, 28, 28, dtype=torch.float64)
    penalty = gradient_penalty(lambda x: x.flatten(1) @ w, real, fake)
    assert penalty.item() == pytest.approx((length - 1) ** 2, abs=2e-6)


def test_penalty_has_finite_gradient_where_the_slope_is_zero():
    w = torch.zeros(784, requires_grad=True)
    gradient_penalty(lambda x: x.flatten(1) @ w, *torch.randn(2, 4, 1, 28, 28)).backward()
    assert torch.isfinite(w.grad).all()


def test_penalty_points_lie_on_the_segments():
    seen = []
    real, fake = torch.ones(1000, 1, 2, 2), -torch.ones(1000, 1, 2, 2)

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    gradient_penalty(critic, real, fake)
    share = (seen[0][:, 0, 0, 0] + 1) / 2
    assert (seen[0] == seen[0][:, :, :1, :1]).all()  # one ε per image, not per pixel
    assert 0 <= share.min() and share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / 1000) ** 0.5)


def test_penalty_gradient_in_the_weights():
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    real, fake = torch.randn(2, 3, 6, dtype=torch.float64)

    def penalty(w):
        seeded = torch.Generator().manual_seed(0)
        return gradient_penalty(lambda x: (x @ w).tanh() * 3, real, fake, seeded)

    assert torch.autograd.gradcheck(penalty, (w,))


def test_penalty_refuses_other_shapes():
    with pytest.raises(ValueError, match="same shape"):
        gradient_penalty(Critic(), torch.zeros(4, 1, 28, 28), torch.zeros(3, 1, 28, 28))


@pytest.mark.parametrize("widths", [(7,), (32, 16), (32, 16, 8)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_both_forms_agree_in_value_and_weight_gradient(widths, dtype, tolerance):
    critic = Critic(widths).to(dtype)
    real, fake = torch.randn(2, 16, 1, 28, 28, dtype=dtype)
    weights = [weight for weight in critic.parameters() if weight.dim() == 2]
    found = []
    for penalty in (gradient_penalty, piecewise_linear_penalty):
        value = penalty(critic, real, fake, torch.Generator().manual_seed(0))
        found.append([value, *torch.autograd.grad(value, weights)])
    for general, product in zip(*found, strict=True):
        torch.testing.assert_close(general, product, rtol=tolerance, atol=tolerance)


def test_the_biases_get_no_gradient_from_the_penalty():
    critic, (real, fake) = Critic((32, 16)), torch.randn(2, 16, 1, 28, 28)
    piecewise_linear_penalty(critic, real, fake).backward()
    assert all(weight.grad is None for weight in critic.parameters() if weight.dim() == 1)
