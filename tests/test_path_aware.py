"""The path term of path-aware training on generators for which its value is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers import gan
from helpers.path_aware import Encoder, inversion_loss, path_losses, straight_line_excess, warm_up


class Isometry(nn.Module):
    """An affine generator of 28 × 28 images that keeps distances, up to a scale."""

    def __init__(self, latent_dim=8, scale=1.0):
        super().__init__()
        basis = torch.linalg.qr(torch.randn(784, latent_dim, generator=torch.Generator().manual_seed(0)))[0]
        self.register_buffer("basis", scale * basis)

    def forward(self, z):
        return (z @ self.basis.T.to(z)).unflatten(1, (1, 28, 28))


@pytest.fixture
def rng():
    torch.manual_seed(0)
    return torch.Generator().manual_seed(1)


def test_excess_of_a_cross_fade_is_one_third(rng):
    G, z = Isometry(), torch.randn(64, 8, generator=rng)
    draws = torch.stack([straight_line_excess(G, z, G(z), rng) for _ in range(400)])
    assert draws.mean().item() == pytest.approx(1 / 3, abs=5 * draws.std().item() / 20)
    same = [torch.Generator().manual_seed(2) for _ in range(2)]
    plain = straight_line_excess(G, z, G(z), same[0])
    stretched = straight_line_excess(lambda w: G(w / 3), 3 * z, G(z), same[1])
    assert stretched.item() == pytest.approx(plain.item(), rel=1e-4)  # no scale of the codes lowers it
    still = G(z).roll(1, 0) / 2 + G(z) / 2
    assert straight_line_excess(lambda _: still, z, G(z), rng).item() == pytest.approx(0, abs=1e-5)


def test_the_encoder_learns_to_invert(rng):
    G, encoder = Isometry(scale=4.0), Encoder(8)
    images = G(torch.randn(2000, 8, generator=rng))
    before = inversion_loss(G, images, encoder(images), prior=0.0).item()
    warm_up(encoder, G, images, rng, steps=300)
    codes = encoder(images)
    assert inversion_loss(G, images, codes, prior=0.0).item() < 0.05 * before
    path_loss = torch.stack([path_losses(G, encoder, images[:128], rng)[0] for _ in range(50)]).mean().item()
    assert 1 / 3 - 0.03 < path_loss < 1 / 3 + 0.3
    found = path_losses(G, encoder, images[:128], rng)[1].item()
    lower_bound = (images[:128] - images[:128].roll(1, 0)).square().sum().item() / 2
    direct = 2 * inversion_loss(G, images[:128], codes[:128]).item() / lower_bound
    assert found == pytest.approx(direct, rel=1e-4)


def test_both_losses_reach_generator_and_encoder(rng):
    for which in (0, 1):
        G, encoder = nn.Sequential(nn.Linear(8, 784), nn.Unflatten(1, (1, 28, 28))), Encoder(8)
        path_losses(G, encoder, torch.rand(16, 1, 28, 28, generator=rng), rng)[which].backward()
        assert G[0].weight.grad.abs().sum() > 0
        assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())


@pytest.fixture
def plain(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    sizes = {"epochs": 1, "images": 256, "batch_size": 64, "width": 16, "channels": 4, "latent_dim": 8}
    return gan.GanConfig(**sizes, num_eval_samples=0)


def test_trainings_from_one_base_keep_its_statistics(plain, tmp_path):
    base = gan.train(plain, "gan")
    aware = replace(plain, epochs=2, path_weight=1.0, inversion_weight=1.0)
    runs = [gan.train(replace(aware, seed=seed), "aware", base) for seed in (0, 1)]
    statistics = base.modules["generator"].state_dict()
    for run in runs:  # BatchNorm's statistics and the film's codes are the base's, whatever the seed
        assert torch.equal(run.modules["film"].z, base.modules["film"].z)
        state = run.modules["generator"].state_dict()
        for key in (key for key in state if "running" in key):
            torch.testing.assert_close(state[key], statistics[key])
        assert all(0 < epoch["path"] < math.inf for epoch in run.record["history"])
    assert runs[0].history("path") != runs[1].history("path")
    assert len(list(tmp_path.glob("gan-*.safetensors"))) == 1


def test_a_base_is_a_model_that_fits_and_is_part_of_the_name(plain, tmp_path):
    bases = [gan.train(replace(plain, seed=seed), "gan") for seed in (0, 1)]
    runs = [gan.train(plain, "further", base) for base in bases]
    assert runs[0].record["config"]["base"] != runs[1].record["config"]["base"]
    assert len(list(tmp_path.glob("further-*.safetensors"))) == 2
    with pytest.raises(ValueError, match="base must match|base .*gan"):
        replace(plain, base="gan")
    with pytest.raises(ValueError, match="pass the model"):
        gan.train(replace(plain, base="0" * 64), "further")
    with pytest.raises(ValueError, match="base has other networks"):
        gan.train(replace(plain, latent_dim=4), "further", bases[0])
    with pytest.raises(ValueError, match="it lacks critic"):
        gan.train(plain, "further", gan.train(replace(plain, seed=2, keep=("generator",)), "gan"))
