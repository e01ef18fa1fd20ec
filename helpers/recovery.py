"""A control of inversion with a known answer: images that a generator made itself, inverted by several methods."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import scipy
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers import store
from helpers.compute import training_threads
from helpers.inversion import gradient_descent, in_double, objective, quasi_newton
from helpers.optimise import value_and_grad
from helpers.provenance import sha256

OURS, LBFGS, BOTH = "Adam, then BFGS (ours)", "L-BFGS (SciPy)", "Adam, then L-BFGS (SciPy)"
CONSTANT, ADAM, LONG = "gradient descent, rate", "Adam, rate falling from", "Adam, rate 0.1, ten times the budget"
LOW, NEAR = 0.1, 0.5  # a loss below LOW counts as solved, a code within NEAR of the true one as recovered

Method = Callable[[Tensor], Tensor]  # from starts (N, d) to end points (N, d)


@dataclass(frozen=True)
class Control:
    """Images of known codes, some starts for each, and what each start may spend."""

    G: nn.Module  # in double precision
    truth: Tensor  # (n, d): z₀
    start: Tensor  # (N, d), N = n · starts
    budget: int  # evaluations of the loss and its gradient; a forward pass for a Jacobian counts as one, too

    @property
    def images(self) -> Tensor:
        """G(z₀), (n, D)."""
        return self.G(self.truth).detach().flatten(1).clamp(-1, 1)

    @property
    def targets(self) -> Tensor:
        """For each start its image, (N, D)."""
        return self.images.repeat_interleave(len(self.start) // len(self.truth), 0)


def control(generator: nn.Module, images: int, starts: int, budget: int, seed: int) -> Control:
    """A control with so many images, and so many starts for each, for a generator as it was trained."""
    G = in_double(generator)
    rng = torch.Generator().manual_seed(seed + 1)
    weight = next(G.parameters())
    truth = torch.randn(images, G.latent_dim, generator=rng, dtype=torch.float64).to(weight)
    start = torch.randn(images * starts, G.latent_dim, generator=rng, dtype=torch.float64).to(weight)
    return Control(G, truth, start, budget)


def methods(given: Control) -> dict[str, Method]:
    """Gradient descent at several rates, Adam, also with more than the budget, and quasi-Newton methods."""
    x, budget = given.targets, given.budget
    adam = partial(gradient_descent, given.G, x)
    by_hand = {f"{CONSTANT} {rate:g}": partial(constant_rate, given, rate) for rate in (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)}
    by_adam = {f"{ADAM} {rate:g}": partial(adam, steps=budget, rate=rate) for rate in (0.03, 0.1, 0.3, 1.0)}
    return (
        by_hand
        | by_adam
        | {
            LONG: partial(adam, steps=10 * budget),
            LBFGS: lambda z: scipy_lbfgs(given, z, budget),
            BOTH: lambda z: scipy_lbfgs(given, adam(z, steps=budget // 10), budget - budget // 10),
            OURS: lambda z: ours(given, z),
        }
    )


def constant_rate(given: Control, rate: float, z: Tensor) -> Tensor:
    """Gradient descent with a constant learning rate and without momentum."""
    x = given.targets
    for _ in range(given.budget):
        z = z - rate * value_and_grad(lambda z, _: objective(given.G, x, z), z, None)[1]
    return z


def ours(given: Control, z: Tensor) -> Tensor:
    """As `invert`: Adam, then BFGS from the Gauss-Newton Hessian, which costs d forward passes."""
    x = given.targets
    first = given.budget // 10
    return quasi_newton(given.G, x, gradient_descent(given.G, x, z, first), given.budget - first - z.shape[1])


def scipy_lbfgs(given: Control, z: Tensor, budget: int) -> Tensor:
    """SciPy's L-BFGS-B, one start after the other."""

    def loss_and_gradient(code: np.ndarray, image: Tensor) -> tuple[float, np.ndarray]:
        z = torch.from_numpy(code).to(image)[None]
        value, gradient = value_and_grad(lambda z, _: objective(given.G, image, z), z, None)
        return value.item(), gradient[0].cpu().numpy()

    ends, limits = [], {"maxfun": budget, "maxiter": budget}
    for code, image in zip(z.cpu(), given.targets, strict=True):
        run = scipy.optimize.minimize(loss_and_gradient, code, image, jac=True, method="L-BFGS-B", options=limits)
        ends.append(run.x)
    return torch.from_numpy(np.stack(ends)).to(z)


class Solutions:
    """What each method finds in a control, by the method's title."""

    def __init__(self, given: Control, codes: dict[str, Tensor]):
        self.given = given
        self.codes = codes  # the end points, (N, d) each
        self.losses = {title: objective(given.G, given.targets, z).detach() for title, z in codes.items()}
        truth = given.truth.repeat_interleave(len(given.start) // len(given.truth), 0)
        self.distances = {title: (z - truth).norm(dim=1) for title, z in codes.items()}

    def solved(self, title: str) -> Tensor:
        """Whether each start of a method reached a loss below LOW, (N,)."""
        return self.losses[title] < LOW

    def recovered(self, title: str) -> Tensor:
        """Whether it also ended within NEAR of the true code, (N,)."""
        return self.solved(title) & (self.distances[title] < NEAR)

    def best_rate(self, kind: str) -> str:
        """Of the methods of a kind (CONSTANT or ADAM), one for each rate, the title of the lowest median loss."""
        titles = [title for title in self.codes if title.startswith(kind)]
        return min(titles, key=lambda title: self.losses[title].median())


def solve(generator: nn.Module, images: int, starts: int, budget: int, seed: int) -> Solutions:
    """What all methods find in a control: stored, or found now, method by method."""
    given = control(generator, images, starts, budget, seed)
    named = methods(given)

    def compute() -> store.Measurement:
        with training_threads():
            codes = [method(given.start) for method in tqdm(named.values(), desc="control", unit="method")]
        return {"z": torch.stack(codes)}, {}

    settings = {"seed": seed, "images": images, "starts": starts, "evaluations": budget, "methods": list(named)}
    tensors, _ = store.measured("inversion-control", {"model": sha256(generator)} | settings, compute)
    return Solutions(given, dict(zip(named, tensors["z"], strict=True)))
