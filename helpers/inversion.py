"""GAN inversion: codes z that minimise ‖G(z) − x‖², from many starts at once: gradient descent, then a polish."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from helpers.compute import require_count, require_nonnegative
from helpers.optimise import BFGS, minimise

STEPS = 200  # of gradient descent
CHUNK = 256  # codes in one batch
DAMPINGS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # tried at once: each costs one decoding, the Jacobian costs d of them


@dataclass
class Inversion:
    z: Tensor  # (n, restarts, d): end points for n images from several starts each
    loss: Tensor  # (n, restarts): ‖G(z) − x‖², summed over pixels

    def best(self) -> Tensor:
        """The code of least loss for each image, (n, d)."""
        return self.z[torch.arange(len(self.z), device=self.z.device), self.loss.argmin(1)]


def invert(
    generator: nn.Module, images: Tensor, restarts: int, seed: int = 0, iterations: int = 150, evaluations: int = 0,
    prior: float = 0.0,
) -> Inversion:  # fmt: skip
    """Invert images (n, 1, 28, 28) in [−1, 1] from `restarts` codes z ~ N(0, I) each, in the generator's own precision.

    First the assignment's gradient descent, then at most `iterations` steps of Levenberg-Marquardt, then BFGS with at
    most `evaluations` of the loss; 0 skips either. prior: weight of ‖z‖² in what is minimised, not in the loss.
    Raises ValueError for other shapes or ranges.
    """
    require_count(restarts=restarts)
    require_count(0, seed=seed, iterations=iterations, evaluations=evaluations)
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
        z = gradient_descent(generator, x, z, STEPS, prior=prior)
        z = levenberg_marquardt(generator, x, z, iterations, prior)
        z = quasi_newton(generator, x, z, evaluations, prior)
        codes.append(z)
        losses.append(objective(generator, x, z).detach())
    shape = (len(images), restarts)
    return Inversion(torch.cat(codes).unflatten(0, shape), torch.cat(losses).unflatten(0, shape))


def objective(generator: nn.Module, images: Tensor, z: Tensor, prior: float = 0.0) -> Tensor:
    """‖G(z) − x‖² + prior ‖z‖² of codes z (N, d) and images x (N, D): (N,)."""
    return (generator(z).flatten(1) - images).square().sum(1) + prior * z.square().sum(1)


def gradient_descent(generator: nn.Module, images: Tensor, z: Tensor, steps: int, prior: float = 0.0) -> Tensor:
    """The assignment's method: minimise ‖G(z) − x‖² over z (N, d) by Adam's gradient descent, G frozen."""
    z = z.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=0.1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        loss = (generator(z).flatten(1) - images).square().sum() + prior * z.square().sum()
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
    return z.detach()


def quasi_newton(generator: nn.Module, images: Tensor, z: Tensor, evaluations: int, prior: float = 0.0) -> Tensor:
    """Polish codes z (N, d) for images (N, D) by BFGS, whose first model is that of Gauss and Newton: codes (N, d)."""
    if not evaluations:
        return z
    H = 2 * normal_equations(generator, images, z, prior)[0]
    inverse = torch.linalg.inv(H + 0.1 * torch.eye(z.shape[1]).to(z))
    return minimise(
        lambda z, rows: objective(generator, images[rows], z, prior), z, BFGS(inverse), evaluations, 1e-15
    ).x


@torch.no_grad()
def levenberg_marquardt(
    generator: nn.Module, images: Tensor, z: Tensor, iterations: int, prior: float = 0.0, gain: float = 1e-3
) -> Tensor:
    """Polish codes z (N, d) for images (N, D): solve (JᵀJ + (λ + prior) I) δ = −Jᵀr − prior z (Marquardt 1963).

    Each iteration tries several dampings λ and keeps the best code, so that the loss never rises. A code is left alone
    once 15 iterations gained less than `gain` of its loss.
    """
    z, eye = z.clone(), torch.eye(z.shape[1]).to(z)
    loss, damping = objective(generator, images, z, prior), torch.ones(len(z)).to(z)
    earlier, active = loss.clone(), torch.arange(len(z), device=z.device)
    for iteration in range(1, iterations + 1):
        H, gradient = normal_equations(generator, images[active], z[active], prior)
        candidates, losses, dampings = [z[active]], [loss[active]], [10 * damping[active]]
        for factor in DAMPINGS:
            dampings.append(factor * damping[active])
            candidates.append(z[active] - torch.linalg.solve(H + dampings[-1][:, None, None] * eye, gradient))
            losses.append(objective(generator, images[active], candidates[-1], prior))
        best = torch.stack(losses).nan_to_num(torch.inf).argmin(0), torch.arange(len(active), device=z.device)
        z[active], loss[active] = torch.stack(candidates)[best], torch.stack(losses)[best]
        damping[active] = torch.stack(dampings)[best].clamp(1e-6, 1e6)
        if iteration % 15 == 0:
            gained = earlier[active] - loss[active] > gain * loss[active]
            earlier[active], active = loss[active], active[gained]
            if not len(active):
                break
    return z


def normal_equations(generator: nn.Module, images: Tensor, z: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    """JᵀJ + prior I (N, d, d) and half the gradient, Jᵀr + prior z (N, d), with J the Jacobian of the decoding."""

    def decode(code: Tensor) -> tuple[Tensor, Tensor]:
        x = generator(code.unsqueeze(0)).flatten()
        return x, x

    J, x = vmap(jacfwd(decode, has_aux=True))(z)
    return J.mT @ J + prior * torch.eye(z.shape[1]).to(z), (J.mT @ (x - images).unsqueeze(-1)).squeeze(-1) + prior * z
