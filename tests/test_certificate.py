"""Certificates: true minima pass, with their kinks; other points do not; the parts agree with autograd."""

import pytest
import torch
from torch import nn
from torch.func import hessian

from helpers import certificate
from helpers.inversion import invert
from helpers.networks import ConvGenerator


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return ConvGenerator(latent_dim=6, width=32, channels=8).double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def found(generator):
    torch.manual_seed(1)
    images = torch.rand(2, 1, 28, 28, dtype=torch.float64) - 0.5
    ends = invert(generator, images, restarts=4, evaluations=600, prior=0.1)
    pairs = [(x.flatten(), z) for x, codes in zip(images, ends.z, strict=True) for z in codes]
    return [(x, certificate.certify(generator, x, z, prior=0.1)) for x, z in pairs]


def loss(generator, x, z):
    return (generator(z).flatten(1) - x).square().sum(1) + 0.1 * z.square().sum(1)


def test_end_points_are_certified_minima_and_nothing_near_is_lower(generator, found):
    kinds = [proof.kind for _, proof in found]
    assert kinds.count("kink minimum") >= 4 and kinds.count("not converged") <= 2
    for x, proof in found:
        if proof.kind.endswith("minimum"):
            around = proof.z + 1e-5 * nn.functional.normalize(torch.randn(300, 6, dtype=torch.float64), dim=1)
            assert (loss(generator, x, around) > proof.loss).all()
            assert proof.loss == pytest.approx(loss(generator, x, proof.z[None]).item(), rel=1e-12)


def test_on_kinks_the_gradient_does_not_vanish_but_a_mean_of_both_sides_does(generator, found):
    x, proof = next((x, proof) for x, proof in found if proof.kind == "kink minimum")
    z = (proof.z + 1e-7 * torch.randn(500, 6, dtype=torch.float64)).requires_grad_()
    (slopes,) = torch.autograd.grad(loss(generator, x, z).sum(), z)
    assert slopes.norm(dim=1).min() > 1e-3 and proof.residual < 1e-8


def test_other_points_are_not_certified(generator, found):
    x, proof = found[0]
    for z in (torch.randn(6, dtype=torch.float64), proof.z + 0.3, -proof.z):
        other = certificate.certify(generator, x, z, prior=0.1)
        moved = (other.z - proof.z).norm() > 1e-6 and (other.z - z).norm() > 0.05
        assert other.kind == "not converged" or moved


def test_hessian_and_decoding_agree_with_autograd(generator):
    z, x = torch.randn(6, dtype=torch.float64), torch.zeros(784, dtype=torch.float64)
    inputs, slopes, logits = certificate.forward_with_slopes(generator, z[None])
    torch.testing.assert_close(torch.tanh(logits), generator(z[None]).flatten(1))
    assert inputs.shape == slopes.shape == (1, 32 + 8 * 49 + 4 * 196)
    proof = certificate.newton(generator, x, z, 0.1, 0.0, iterations=0)
    exact = torch.linalg.eigvalsh(hessian(lambda c: loss(generator, x, c[None])[0])(z))
    torch.testing.assert_close(proof.curvatures * proof.loss / z.norm() ** 2, exact)


def test_smooth_minimum_of_a_generator_whose_kinks_are_far():
    torch.manual_seed(0)
    G = nn.Module()
    G.net = nn.Sequential(nn.Linear(3, 5), nn.LeakyReLU(0.2), nn.Linear(5, 784), nn.Tanh()).double()
    G.forward, G.latent_dim = G.net, 3
    nn.init.constant_(G.net[0].bias, 50.0)
    z = torch.randn(3, dtype=torch.float64)
    x = G.net(z).detach() * 0.999
    proof = certificate.certify(G.requires_grad_(False), x, z)
    assert (proof.kind, proof.kinks) == ("smooth minimum", 0)
    assert (proof.z - z).norm() < 0.1
