"""End points from many starts: certified as the certificate says, stored once, and linked where no barrier is."""

import copy

import pytest
import torch

from helpers import certificate, minima, store
from helpers.inversion import gradient_descent, invert, objective, starts
from helpers.networks import ConvGenerator

SEARCH = {"restarts": 3, "seed": 5, "prior": 0.1, "evaluations": 300}


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return ConvGenerator(latent_dim=4, width=32, channels=8).eval().requires_grad_(False)


def double_well(z):
    """Images of one pixel, z², of codes (N, 1): the loss for an image of 1 is (z² − 1)², with a barrier at 0."""
    return z.square()[..., None, None]


@pytest.mark.parametrize(("ends", "expected"), [((-1.0, 1.0), 2), ((1.0, 1.001), 1), ((-1.0, 1.0, 0.999), 2)])
def test_codes_are_in_one_group_unless_a_barrier_separates_them(ends, expected):
    z, x = torch.tensor(ends)[:, None], torch.ones(1, 1, 1)
    linked = minima.without_barrier(double_well, x, z, objective(double_well, x, z))
    assert minima.groups(linked) == expected and (linked == linked.T).all() and linked.diagonal().all()


def test_a_rise_of_less_than_one_per_cent_is_no_barrier():
    def ripple(z):  # losses of 1 at both ends, and 1 + height between them
        return (1 + z[:, 1:] * torch.sin(torch.pi * z[:, :1])).sqrt()[..., None, None]

    x = torch.zeros(1, 1, 1)
    for height, linked in ((0.005, True), (0.02, False)):
        z = torch.tensor([[0.0, height], [1.0, height]])
        assert minima.without_barrier(ripple, x, z, objective(ripple, x, z))[0, 1] == linked


def test_links_may_lead_from_end_to_end():
    chain = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert minima.groups(chain) == 2


def test_end_points_are_those_of_the_inversion_and_what_is_certified_of_them(generator, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    images = torch.rand(2, 1, 28, 28) - 0.5
    found = minima.of_generator(generator, "inversion-tiny", images, **SEARCH)
    G = copy.deepcopy(generator).double()
    for i, x in enumerate(images.double()):
        ends = invert(G, x[None], 3, SEARCH["seed"] + i, prior=0.1, evaluations=300).z[0]
        for k, z in enumerate(ends):
            proof = certificate.certify(G, x.flatten(), z, 0.1)
            assert certificate.KINDS[int(found.kind[i, k])] == proof.kind and found.kinks[i, k] == proof.kinks
            assert found.certified[i, k] == proof.kind.endswith("minimum")
            assert torch.equal(found.z[i, k], z if proof.kind == "not converged" else proof.z)
        torch.testing.assert_close(found.loss[i], objective(G, x, found.z[i]))
        assert torch.equal(found.best()[i], found.z[i, found.loss[i].argmin()])
    assert found.certified.any() and found.z.dtype == torch.float64


def test_end_points_are_found_once(generator, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    images = torch.rand(1, 1, 28, 28) - 0.5
    quick = SEARCH | {"evaluations": 1}
    first = minima.of_generator(generator, "inversion-tiny", images, **quick)
    monkeypatch.setattr(minima, "search", None)
    assert torch.equal(minima.of_generator(generator, "inversion-tiny", images, **quick).z, first.z)
    (path,) = tmp_path.glob("*.safetensors")
    assert store.read(path)[0]["kind"] == "measurement"
    with pytest.raises(TypeError):  # it is searched again
        minima.of_generator(generator, "inversion-tiny", images, **quick | {"seed": 6})


def test_gradient_descent_alone_takes_so_many_steps_from_the_same_starts_and_is_stored(
    generator, tmp_path, monkeypatch
):
    monkeypatch.setenv("MODELS", str(tmp_path))
    images = torch.rand(2, 1, 28, 28) - 0.5
    (z, few), (_, many) = (minima.after_descent(generator, "descent-tiny", images, 3, 5, steps) for steps in (20, 200))
    assert few.shape == many.shape == (2, 3) and (many < few).all()
    found = gradient_descent(generator, images[1], starts(1, 3, generator.latent_dim, 6)[0], 20)
    torch.testing.assert_close(z[1], found)
    torch.testing.assert_close(few[1], objective(generator, images[1], found))
    monkeypatch.setattr(minima, "gradient_descent", None)
    assert torch.equal(minima.after_descent(generator, "descent-tiny", images, 3, 5, 20)[1], few)
