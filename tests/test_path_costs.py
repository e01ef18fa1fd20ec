"""Measurements of minimal paths: closed forms, the decomposition of U, and the store of measurements."""

from dataclasses import replace

import pytest
import torch
from test_path_aware import Isometry

from helpers import data, evaluation, gan, path_costs, store
from helpers.path_aware import OnSphere
from helpers.path_costs import PathCosts, Protocol

TINY = Protocol(pairs=2, points=9, penalties=(0.1, 1.0), samples=20)


class Decoder(Isometry):
    """An affine generator with the attribute that inversion needs, from the means and directions of test images."""

    latent_dim = 6

    def __init__(self, scale=2.0):
        super().__init__(latent_dim=self.latent_dim, scale=scale)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, z):
        return super().forward(z).tanh()


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return evaluation.Classifier(4).eval()


def test_the_images_are_neighbours_that_no_other_chapter_uses():
    x_a, x_b = replace(TINY, first=2000, pairs=25).images()
    test = data.mnist("test")[0]
    assert torch.equal(x_a[3], test[2006]) and torch.equal(x_b[24], test[2049])
    rng = torch.Generator().manual_seed(0)  # the draws of chapter 5: training images, then test images
    torch.randperm(60_000, generator=rng)
    picked = set(torch.randperm(10_000, generator=rng)[:200].tolist())
    protocol = Protocol()
    used = range(protocol.first, protocol.first + 2 * protocol.pairs)
    assert not picked & set(used) and used.start >= 1000
    with pytest.raises(ValueError, match="there are no 25 pairs of test images from number 9960 on"):
        replace(protocol, first=9960)
    assert len(replace(protocol, first=59_950, split="train").images()[0]) == 25


def test_u_is_the_product_of_its_factors(classifier):
    found = path_costs.measure(Decoder(), TINY, classifier)
    x_a, x_b = TINY.images()
    apart = (x_a - x_b).square().sum((1, 2, 3)).double() / 2
    assert found["energy"].shape == (2, 2)
    assert torch.allclose(found["energy"], found["rho"] * apart * found["distance"], rtol=1e-5)
    assert (found["rho"] >= 1).all() and (found["rho_line"] >= found["rho"] - 1e-6).all()
    assert (found["norm"][1] < found["norm"][0]).all()  # a larger penalty
    costs = PathCosts(**{name: found[name] for name in path_costs.QUANTITIES}, frechet=1.0, record={})
    other = replace(costs, energy=6 * costs.energy, rho=2 * costs.rho, distance=3 * costs.distance)
    change = path_costs.log_changes(other, costs)
    assert torch.allclose(change["energy"], change["rho"] + change["distance"])
    assert torch.allclose(change["energy"], torch.full((2,), 6.0, dtype=torch.float64).log())


def test_codes_on_the_sphere_have_its_norm_and_are_as_good_as_any_other_there():
    G = Decoder()
    images = torch.cat(TINY.images())
    z = path_costs.codes(G, images, replace(TINY, on_sphere=True), 0.0)
    assert z.norm(dim=1).tolist() == pytest.approx(len(z) * [6**0.5], rel=1e-5)
    error = (G(z) - images).square().sum((1, 2, 3))
    random = OnSphere()(torch.randn(200, 6, generator=torch.Generator().manual_seed(1)))
    others = (G(random).unsqueeze(1) - images).square().sum((2, 3, 4))
    assert (error <= others.amin(0) + 1e-3).all()


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    return tmp_path


def test_what_is_measured_is_stored_under_the_weights_or_the_training(models, classifier, monkeypatch):
    G = Decoder()
    first = path_costs.of_generator(G, TINY, classifier)
    monkeypatch.setattr(path_costs, "measure", lambda *_: pytest.fail("it is stored"))
    assert torch.equal(path_costs.of_generator(G, TINY, classifier).energy, first.energy)
    with pytest.raises(pytest.fail.Exception):
        path_costs.of_generator(Decoder(scale=3.0), TINY, classifier)
    with pytest.raises(pytest.fail.Exception):
        path_costs.of_generator(G, replace(TINY, pairs=1), classifier)


def test_a_training_is_measured_once_and_then_needs_no_networks(models, monkeypatch):
    sizes = {"epochs": 1, "images": 256, "batch_size": 64, "width": 16, "channels": 4, "latent_dim": 8}
    tiny = gan.GanConfig(**sizes, num_eval_samples=0, classifier={"epochs": 1, "images": 256, "channels": 4})
    base = gan.train(tiny, "gan")
    further = replace(tiny, inversion_weight=1.0, warm_up_steps=5)
    costs = path_costs.of_training(further, base, TINY)
    (trained,) = models.glob("own-*.safetensors")
    assert costs.record["config"]["base"] == gan.base_hash(base)
    assert costs.record["sha256"] == store.read(trained)[0]["sha256"]
    trained.unlink()
    monkeypatch.setattr(gan, "train", lambda *_: pytest.fail("it is measured"))
    assert torch.equal(path_costs.of_training(further, base, TINY).energy, costs.energy)
    with pytest.raises(pytest.fail.Exception):
        path_costs.of_training(replace(further, seed=1), base, TINY)
