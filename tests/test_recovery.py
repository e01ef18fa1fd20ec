"""The control of known codes: every method gets its budget, and a code counts as recovered only where it is."""

import pytest
import torch

from helpers import recovery, store
from helpers.networks import ConvGenerator


class Counted(ConvGenerator):
    """A generator that counts the codes that it decodes."""

    decoded = 0

    def forward(self, z):
        Counted.decoded += len(z)
        return super().forward(z)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Counted(latent_dim=4, width=32, channels=8).eval().requires_grad_(False)


def test_codes_and_starts_are_drawn_from_the_prior_by_the_seed(generator):
    given = recovery.control(generator, 3, 2, 40, 7)
    rng = torch.Generator().manual_seed(8)
    assert torch.equal(given.truth, torch.randn(3, 4, generator=rng, dtype=torch.float64))
    assert torch.equal(given.start, torch.randn(6, 4, generator=rng, dtype=torch.float64))
    assert torch.equal(given.targets[:2], given.images[:1].expand(2, -1)) and given.targets.shape == (6, 784)


def test_methods_stay_within_their_budget(generator):
    given = recovery.control(generator, 1, 1, 40, 0)
    for title, method in recovery.methods(given).items():
        Counted.decoded = 0
        method(given.start)
        times = 10 if title == recovery.LONG else 1
        assert Counted.decoded <= 40 * times + 2, title
        assert Counted.decoded >= 35 * times or title in (recovery.LBFGS, recovery.BOTH, recovery.OURS), title


def test_all_methods_lower_the_loss_and_the_best_rate_is_the_one_with_the_lowest_median(
    generator, tmp_path, monkeypatch
):
    monkeypatch.setenv("MODELS", str(tmp_path))
    found = recovery.solve(generator, 2, 2, 60, 0)
    start = recovery.objective(found.given.G, found.given.targets, found.given.start)
    assert all(loss.median() < start.median() for loss in found.losses.values())
    for kind, rates in ((recovery.CONSTANT, 5), (recovery.ADAM, 4)):
        medians = {title: loss.median() for title, loss in found.losses.items() if title.startswith(kind)}
        assert len(medians) == rates and medians[found.best_rate(kind)] == min(medians.values())
    assert found.recovered(recovery.OURS).any()


def test_solved_and_recovered_are_told_apart(generator):
    given = recovery.control(generator, 2, 2, 1, 0)
    codes = given.truth.repeat_interleave(2, 0) + torch.tensor([[0.0], [1e-4], [3.0], [0.2]]).double()
    found = recovery.Solutions(given, {"here": codes})
    assert found.recovered("here")[:2].all() and not found.recovered("here")[2]
    assert (found.recovered("here") <= found.solved("here")).all()
    torch.testing.assert_close(found.distances["here"], torch.tensor([0.0, 2e-4, 6.0, 0.4]).double())


def test_the_control_is_solved_once(generator, tmp_path, monkeypatch):
    monkeypatch.setenv("MODELS", str(tmp_path))
    first = recovery.solve(generator, 1, 1, 20, 0)
    monkeypatch.setattr(recovery, "tqdm", None)  # which only a new solution uses
    again = recovery.solve(generator, 1, 1, 20, 0)
    assert list(again.codes) == list(first.codes) and len(first.codes) == 13
    assert all(torch.equal(again.codes[title], first.codes[title]) for title in first.codes)
    (path,) = tmp_path.glob("*.safetensors")
    assert store.read(path)[0]["config"]["evaluations"] == 20
