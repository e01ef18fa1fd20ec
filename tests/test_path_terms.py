"""The terms of path-aware training on generators for which their values are known."""

import math

import pytest
import torch
from torch import nn

from helpers import gan, paths
from helpers.path_terms import TERMS, FrozenPaths, InvertedEnds, PathLength, straight_line_excess


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
    plain, stretched = (
        straight_line_excess(G, z, G(z), same[0]),
        straight_line_excess(lambda w: G(w / 3), 3 * z, G(z), same[1]),
    )
    assert stretched.item() == pytest.approx(plain.item(), rel=1e-4)  # no scale can cheat it
    still = G(z).roll(1, 0) / 2 + G(z) / 2
    assert straight_line_excess(lambda _: still, z, G(z), rng).item() == pytest.approx(0, abs=1e-5)


def test_frozen_paths_estimate_the_energy_of_the_shortest(rng):
    G, term = Isometry(), FrozenPaths(8, pairs=6)
    term.begin(G, None, 0, rng)
    energy = paths.path_energy(G, term.path, *term.ends)
    apart = (term.path[:, -1] - term.path[:, 0]).square().sum(1)
    rho = energy / (0.5 * (term.ends[0] - term.ends[1]).square().sum((1, 2, 3)) * apart)
    exact = 2 * (0.5 + math.asinh(1) / math.sqrt(8)) ** 2
    assert rho.tolist() == pytest.approx([exact] * 6, rel=0.01)
    z = torch.zeros(500, 8)
    draws = torch.stack([term(G, z, None, None, rng) for _ in range(100)])
    assert draws.mean().item() == pytest.approx(exact - 1, abs=0.02)


def test_frozen_paths_pass_no_gradient_to_the_path(rng):
    G = nn.Sequential(nn.Linear(8, 784), nn.Unflatten(1, (1, 28, 28)))
    term = FrozenPaths(8, pairs=4)
    term.begin(G, None, 0, rng)
    assert not term.path.requires_grad and not term.ends.requires_grad
    term(G, torch.zeros(16, 8), None, None, rng).backward()
    assert G[0].weight.grad.abs().sum() > 0


def test_encoder_learns_to_invert_before_the_first_epoch_only(rng):
    G, term = Isometry(scale=4.0), InvertedEnds(8, prior=0.0, warm_up=300)
    images = G(torch.randn(2000, 8, generator=rng))
    before = term.inversion_loss(G, images, term.encoder(images)).item()
    term.begin(G, images, 1, rng)
    assert term.inversion_loss(G, images, term.encoder(images)).item() == before
    term.begin(G, images, 0, rng)
    codes = term.encoder(images)
    assert term.inversion_loss(G, images, codes).item() < 0.05 * before
    lines = torch.stack([term(G, None, None, images[:128], rng) for _ in range(50)]).mean().item()
    assert 1 / 3 - 0.03 < lines < 1 / 3 + 0.3


def test_ends_reach_generator_and_encoder(rng):
    G = nn.Sequential(nn.Linear(8, 784), nn.Unflatten(1, (1, 28, 28)))
    term = InvertedEnds(8)
    term(G, None, None, torch.rand(16, 1, 28, 28, generator=rng), rng).backward()
    assert G[0].weight.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in term.encoder.parameters())


def test_path_length_of_an_isometry(rng):
    d, scale = 8, 5.0
    G, term = Isometry(d, scale), PathLength(d)
    mean = math.sqrt(2) * math.gamma((d + 1) / 2) / math.gamma(d / 2)  # of ‖N(0, I)‖
    z = torch.randn(4000, d, generator=rng)
    draws = torch.stack([term(G, z, None, None, rng) for _ in range(50)]).mean().item()
    assert term.mean.item() == pytest.approx(scale * mean / 28, rel=0.02)
    assert draws == pytest.approx((scale / 28) ** 2 * (d - mean**2), rel=0.05)


@pytest.mark.parametrize("name", TERMS)
def test_each_term_trains_from_one_base(name, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    tiny = dict(images=256, batch=64, width=16, channels=4, latent_dim=8)
    runs = [
        gan.train("aware", "gan", epochs=2, seed=seed, base_epochs=1, path_term=name, path_weight=1.0, **tiny)
        for seed in (0, 1)
    ]
    modules = gan.train("gan", "gan", epochs=1, **tiny).modules
    base = modules["generator"].state_dict()
    for run in runs:  # BatchNorm's statistics and the film's codes are the base's, whatever the seed
        assert torch.equal(run.modules["film"].z, modules["film"].z)
        state = run.modules["generator"].state_dict()
        for key in (key for key in state if "running" in key):
            torch.testing.assert_close(state[key], base[key])
        assert all(0 < epoch["excess"] < math.inf for epoch in run.record["history"])
    assert runs[0].history("excess") != runs[1].history("excess")


def test_unknown_term_is_named():
    with pytest.raises(ValueError, match="path_term must be"):
        gan.train("x", "gan", path_term="wormholes")


@pytest.mark.parametrize("change", [{"path_term": "ends"}, {"path_weight": 1.0}])
def test_a_term_and_its_weight_go_together(change):
    with pytest.raises(ValueError, match="go together"):
        gan.train("x", "gan", **change)


def test_unknown_module_to_keep_is_named():
    with pytest.raises(ValueError, match="keep must be"):
        gan.train("x", "gan", keep="generater")
