"""The contents of films: the frames are the models' own."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers import beta_vae, inversion, paths
from helpers.networks import ConvGenerator
from helpers.show import films


@pytest.fixture
def generator() -> nn.Module:
    return ConvGenerator(8, 32, 8).eval().requires_grad_(False)


def test_at_a_beta_that_a_sweep_lacks_its_nearest_is_shown_and_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MODELS", str(tmp_path))
    tiny = beta_vae.SweepConfig((0.1, 1.0, 10.0), epochs=1, images=256, width=8, batch_size=128, latent_dim=4)
    echo = replace(tiny, betas=(0.1, 1.0), echo=beta_vae.EchoConfig())
    sweeps = {"gaussian": beta_vae.train_sweep(tiny, "tiny"), "echo": beta_vae.train_sweep(echo, "tiny-echo")}
    betas, members, pictures, words = films.beta_frames(sweeps, beta_vae.pixels("test")[:256])
    assert betas == [0.1, 1.0, 10.0] and members == {"gaussian": [0, 1, 2], "echo": [0, 1, 1]}
    assert pictures["gaussian"].shape == pictures["echo"].shape == (3, 4, films.COLUMNS, 28, 28)
    assert (pictures["echo"][1] == pictures["echo"][2]).all() and (pictures["echo"][0] != pictures["echo"][1]).any()
    assert "Gaussian: β = 10," in words[2] and "echo: nearest β = 1," in words[2] and "nearest" not in words[1]
    _, ((_, rates, *_), _) = films.beta_curves(sweeps, members)
    assert rates.tolist() == sweeps["gaussian"].modules["scores"].rate.tolist()


class Ends(SimpleNamespace):
    """Two digits, three starts; of the second digit nothing is certified."""

    z = torch.randn(2, 3, 8)
    loss = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    kind = torch.tensor([[1.0, 0.0, 2.0], [3.0, 3.0, 2.0]])
    kinks, residual = torch.ones(2, 3), torch.full((2, 3), 1e-9)


def test_descents_are_those_of_the_inversion(generator: nn.Module) -> None:
    x, start = torch.zeros(1, 28, 28), torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(5))[0]
    decoded, losses, steps = films.descents(generator, x, Ends.z[0], 5)
    assert len(decoded) == len(losses) == len(steps) and steps[1] == "gradient descent, step 8"
    assert torch.equal(decoded[0], generator(start)) and torch.equal(decoded[-1], generator(Ends.z[0]))
    landed = inversion.gradient_descent(generator, x.flatten().expand(3, -1), start, films.STEPS)
    assert torch.equal(decoded[films.STEPS // films.EVERY], generator(landed))


def test_energy_so_far_grows_from_nothing_to_all_of_it(generator: nn.Module) -> None:
    x_a, x_b = torch.rand(2, 1, 28, 28) * 2 - 1
    path = torch.randn(9, 8)
    U, so_far = films.energy_so_far(generator, path, x_a, x_b)
    assert U == pytest.approx(paths.path_energy(generator, path, x_a, x_b).item(), rel=1e-5)
    assert so_far[0] == 0 and so_far[-1] == 1 and (so_far.diff() > 0).all()
    part, _ = films.energy_so_far(generator, path[:5], x_a, x_b)  # the first half at twice the speed, from 0 to 1
    assert so_far[4].item() == pytest.approx(2 * part / U, rel=1e-5)


def test_a_printed_sheet_shows_steps_that_double_then_every_second_budget_and_the_end() -> None:
    texts = [f"gradient descent, step {step}" for step in range(0, 41, 8)]
    texts += [f"BFGS, {budget} evaluations" for budget in (5, 10, 20)] + ["end points"]
    shown, numbers, headings = films.milestones(texts)
    assert shown == [0, 1, 2, 4, 5, 6, 8, 9] and numbers == ["0", "8", "16", "32", "40", "5", "20", "end"]
    assert headings == {0: "gradient descent, steps", 5: "BFGS, evaluations", 8: " loss"}
