"""GAN inversion: codes z that minimise ‖G(z) − x‖² + prior ‖z‖², by gradient descent and then BFGS, many at once."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from helpers.compute import require_count, require_nonnegative
from helpers.optimise import BFGS, minimise

RESTARTS, PRIOR, EVALUATIONS = 4, 0.1, 200  # of `invert`; notebook 6 shows why
STEPS = 200  # of gradient descent
CHUNK = 256  # codes in one batch


@dataclass(frozen=True)
class Inversion:
    z: Tensor  # (n, restarts, d): end points for n images from several starts each
    loss: Tensor  # (n, restarts): ‖G(z) − x‖², summed over pixels
    objective: Tensor  # (n, restarts): what was minimised, loss + prior ‖z‖²

    def best(self) -> Tensor:
        """The code with the lowest objective for each image, (n, d)."""
        return self.z[torch.arange(len(self.z), device=self.z.device), self.objective.argmin(1)]


def invert(
    generator: nn.Module, images: Tensor, restarts: int = RESTARTS, seed: int = 0, prior: float = PRIOR,
    evaluations: int = EVALUATIONS,
) -> Inversion:  # fmt: skip
    """Invert images (n, 1, 28, 28) in [−1, 1] from `restarts` codes z ~ N(0, I) each, in the generator's own precision.

    prior: weight of ‖z‖² in the objective ‖G(z) − x‖² + prior ‖z‖². evaluations: of the objective and its gradient, at
    most so many for each start by BFGS, after STEPS steps of gradient descent. Raises ValueError for other shapes or
    ranges.
    """
    require_count(restarts=restarts, evaluations=evaluations)
    require_count(0, seed=seed)
    require_nonnegative(prior=prior)
    if images.dim() != 4 or images.shape[1:] != (1, 28, 28) or not len(images):
        raise ValueError(f"images must be (n, 1, 28, 28) with n ≥ 1, not {tuple(images.shape)}.")
    if not images.abs().max() <= 1 + 1e-6:  # false for NaN, too
        raise ValueError("images must be finite and lie in [−1, 1]: rescale them.")
    weight = next(generator.parameters())
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(len(images), restarts, generator.latent_dim, generator=rng).to(weight)
    targets = images.to(weight).flatten(1).repeat_interleave(restarts, 0)
    codes, losses = [], []
    for z, x in zip(start.flatten(0, 1).split(CHUNK), targets.split(CHUNK), strict=True):
        z = gradient_descent(generator, x, z, STEPS, prior)
        codes.append(quasi_newton(generator, x, z, evaluations, prior))
        losses.append(objective(generator, x, codes[-1]).detach())
    z, loss = torch.cat(codes), torch.cat(losses)
    return Inversion(*(part.unflatten(0, (-1, restarts)) for part in (z, loss, loss + prior * z.square().sum(1))))


def objective(G: nn.Module, x: Tensor, z: Tensor, prior: float = 0.0) -> Tensor:
    """‖G(z) − x‖² + prior ‖z‖² of codes z (N, d) and images x (N, 784): (N,)."""
    return (G(z).flatten(1) - x).square().sum(1) + prior * z.square().sum(1)


def starts(images: int, restarts: int, latent_dim: int, seed: int) -> Tensor:
    """The codes z ~ N(0, I) from which `invert` starts, (images, restarts, latent_dim), float32 on the CPU."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(images, restarts, latent_dim, generator=rng, dtype=torch.float32)


def gradient_descent(G: nn.Module, x: Tensor, z: Tensor, steps: int, prior: float = 0.0) -> Tensor:
    """Minimise the objective over codes z (N, d) by gradient descent (Adam), with the generator G frozen."""
    z = z.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=0.1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        loss = objective(G, x, z, prior).sum()
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
    return z.detach()


def quasi_newton(G: nn.Module, x: Tensor, z: Tensor, evaluations: int, prior: float = 0.0) -> Tensor:
    """Minimise the objective over codes z (N, d) by BFGS, starting from the Gauss-Newton Hessian."""
    hessian = gauss_newton(G, z, prior) + 0.1 * torch.eye(z.shape[1]).to(z)
    model = BFGS(torch.linalg.inv(hessian))
    return minimise(lambda z, rows: objective(G, x[rows], z, prior), z, model, evaluations, 1e-15).x


def gauss_newton(G: nn.Module, z: Tensor, prior: float = 0.0) -> Tensor:
    """2 (JᵀJ + prior I), (N, d, d), with J the Jacobian of the decoding of codes z (N, d)."""
    J = vmap(jacfwd(lambda code: G(code.unsqueeze(0)).flatten()))(z)
    return 2 * (J.mT @ J + prior * torch.eye(z.shape[1]).to(z))
