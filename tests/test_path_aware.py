"""The path term of path-aware training on generators for which its value is known."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from helpers import gan
from helpers.inversion import objective
from helpers.path_aware import PAIRS, POINTS, Encoder, OnSphere, energy_loss, inversion_loss, path_loss, warm_up
from helpers.paths import linear_path, path_energy, shortest_path


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
    draws = torch.stack([path_loss(G, z, G(z), rng) for _ in range(400)])
    assert draws.mean().item() == pytest.approx(1 / 3, abs=5 * draws.std().item() / 20)
    same = [torch.Generator().manual_seed(2) for _ in range(2)]
    plain = path_loss(G, z, G(z), same[0])
    stretched = path_loss(lambda w: G(w / 3), 3 * z, G(z), same[1])
    assert stretched.item() == pytest.approx(plain.item(), rel=1e-4)  # no scale of the codes lowers it
    still = G(z).roll(1, 0) / 2 + G(z) / 2
    assert path_loss(lambda _: still, z, G(z), rng).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_the_encoder_learns_to_invert(rng, penalty):
    G, encoder = Isometry(scale=4.0), Encoder(8)
    images = G(torch.randn(2000, 8, generator=rng))
    before = objective(G, images, encoder(images)).sum().item()
    warm_up(encoder, G, images, penalty, 300, rng)
    codes = encoder(images)
    assert objective(G, images, codes).sum().item() < 0.05 * before
    excess = torch.stack([path_loss(G, codes[:128], images[:128], rng) for _ in range(50)]).mean().item()
    assert 1 / 3 - 0.03 < excess < 1 / 3 + 0.3
    found = inversion_loss(G, codes[:128], images[:128], penalty).item()
    lower_bound = (images[:128] - images[:128].roll(1, 0)).square().sum().item() / 2
    errors = (G(codes[:128]) - images[:128]).square().sum() + penalty * codes[:128].square().sum()
    assert found == pytest.approx(2 * errors.item() / lower_bound, rel=1e-4)


def test_a_larger_penalty_gives_shorter_codes(rng):
    norms = []
    for penalty in (0.0, 4.0):
        torch.manual_seed(0)
        G, encoder = Isometry(scale=2.0), Encoder(8)
        images = G(torch.randn(1000, 8, generator=rng))
        warm_up(encoder, G, images, penalty, 300, rng)
        norms.append(encoder(images).norm(dim=1).mean().item())
    assert norms[1] == pytest.approx(norms[0] / 2, rel=0.1)  # ridge regression: 4 / (4 + penalty) of the code


def test_codes_on_the_sphere_have_the_prior_s_norm(rng):
    codes = Encoder(16, on_sphere=True)(torch.rand(5, 1, 28, 28, generator=rng))
    assert codes.norm(dim=1).tolist() == pytest.approx(5 * [4.0], rel=1e-5)
    z = torch.randn(3, 9, generator=rng)
    assert torch.allclose(OnSphere()(7 * z), OnSphere()(z), atol=1e-5)


def test_the_energy_loss_is_the_least_energy_and_its_gradient_that_of_the_minimum(rng):
    G, z = Isometry().double(), torch.randn(PAIRS, 8, generator=rng, dtype=torch.float64)
    images = (2 * G(z)).tanh()
    x_b = images.roll(1, 0)
    unit = (images - x_b).square().sum() / 2 * (2 * 8)

    def least(codes):
        return shortest_path(G, codes, codes.roll(1, 0), images, x_b, POINTS).energy.sum() / unit

    codes = z.clone().requires_grad_()
    loss = energy_loss(G, codes, images)
    line = path_energy(G, linear_path(z, z.roll(1, 0), POINTS), images, x_b).sum() / unit
    assert 0.99 * least(z) < loss < line  # the solver ends at constant speed, which may cost up to 1 % on 9 points
    (slope,) = torch.autograd.grad(loss, codes)
    towards = torch.randn(z.shape, generator=rng, dtype=torch.float64)
    step = 1e-3
    moved = (energy_loss(G, z + step * towards, images) - energy_loss(G, z - step * towards, images)) / (2 * step)
    assert (slope * towards).sum().item() == pytest.approx(moved.item(), rel=0.02)
    shorter = energy_loss(lambda w: G(4 * w), z / 4, images)
    assert shorter.item() == pytest.approx(loss.item() / 16, rel=1e-6)  # unlike the path loss, short codes lower it


def test_all_losses_reach_generator_and_encoder(rng):
    images = torch.rand(16, 1, 28, 28, generator=rng)
    for loss, *last in ((path_loss, rng), (inversion_loss, 0.1), (energy_loss,)):
        G, encoder = nn.Sequential(nn.Linear(8, 784), nn.Unflatten(1, (1, 28, 28))), Encoder(8)
        loss(G, encoder(images), images, *last).backward()
        assert G[0].weight.grad.abs().sum() > 0
        assert all(p.grad.abs().sum() > 0 for p in encoder.parameters())


@pytest.fixture
def plain(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    sizes = {"epochs": 1, "images": 256, "batch_size": 64, "width": 16, "channels": 4, "latent_dim": 8}
    return gan.GanConfig(**sizes, num_eval_samples=0)


def test_trainings_from_one_base_keep_its_statistics(plain, tmp_path):
    base = gan.train(plain, "gan")
    aware = replace(plain, epochs=2, path_weight=1.0, inversion_weight=1.0, warm_up_steps=5)
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


def test_the_encoder_s_step_depends_on_its_own_weight_of_the_path_loss_alone(plain):
    base = gan.train(plain, "gan")
    start, steps = None, {}
    for weights in ((0.0, 1.0, 0.0), (1.0, 1.0, 0.0), (100.0, 1.0, 0.0), (1.0, 1.0, 1.0)):
        names = ("path_weight", "inversion_weight", "encoder_path_weight")
        model = gan.GAN(replace(plain, **dict(zip(names, weights, strict=True)), base=gan.base_hash(base)), base)
        start = start or {key: value.clone() for key, value in model.encoder.state_dict().items()}
        model.encoder.load_state_dict(start)
        x = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        model.encoder_step(x, {})
        steps[weights] = torch.cat([value.flatten() for value in model.encoder.parameters()]).detach()
    inverted, *same, joint = steps.values()
    assert all(torch.equal(step, inverted) for step in same)
    assert not torch.equal(joint, inverted)


def test_the_energy_of_paths_takes_the_place_of_the_path_loss(plain):
    base = gan.train(plain, "gan")
    aware = replace(plain, energy_weight=10.0, inversion_weight=10.0, encoder_path_weight=1.0, warm_up_steps=5)
    (found,) = gan.train(aware, "aware", base).record["history"]
    assert 0 < found["energy"] < math.inf and "path" not in found
    inverted = gan.train(replace(aware, energy_weight=0.0, encoder_path_weight=0.0), "aware", base)
    assert inverted.record["history"][0]["inversion"] != found["inversion"]
    with pytest.raises(ValueError, match="exclude each other"):
        replace(aware, path_weight=1.0)


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


def test_the_warm_up_takes_as_many_steps_as_the_configuration_says(plain, monkeypatch):
    base = gan.train(plain, "gan")
    aware = replace(plain, inversion_weight=1.0)
    before, steps = torch.optim.Adam.step, []
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, *given: (steps.append(1), before(self, *given))[1])
    for wished in (0, 3):
        steps.clear()
        model = gan.GAN(replace(aware, warm_up_steps=wished, base=gan.base_hash(base)), base)
        model.begin_epoch(0, torch.rand(64, 1, 28, 28))
        assert len(steps) == wished
