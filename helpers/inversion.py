"""GAN inversion: codes z that minimise ‖G(z) − x‖², from many starts at once: gradient descent, then a polish."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jacfwd, vmap

from helpers import bfgs
from helpers.compute import require_count, require_nonnegative

DAMPINGS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # tried at once: each costs one decoding, the Jacobian costs d of them


@dataclass
class Inversion:
    """End points for n images from several starts each."""

    z: Tensor  # (n, restarts, d)
    loss: Tensor  # (n, restarts): ‖G(z) − x‖², summed over pixels
    grad_norm: Tensor  # (n, restarts): ‖∇_z loss‖ (with the prior's term where there is one)

    def best(self) -> Tensor:
        """The code of least loss for each image, (n, d)."""
        rows = torch.arange(len(self.z), device=self.z.device)
        return self.z[rows, self.loss.argmin(1)]


class OnSphere(nn.Module):
    """A generator that sees only the direction of a code: G(r z/‖z‖), so that inverting it holds ‖z‖ = r."""

    def __init__(self, generator: nn.Module, radius: float):
        super().__init__()
        self.generator, self.radius, self.latent_dim = generator, radius, generator.latent_dim

    def project(self, z: Tensor) -> Tensor:
        return self.radius * F.normalize(z, dim=-1)

    def forward(self, z: Tensor) -> Tensor:
        return self.generator(self.project(z))


def invert(
    generator: nn.Module,
    images: Tensor,
    restarts: int,
    seed: int = 0,
    steps: int = 200,
    iterations: int = 150,
    evaluations: int = 0,
    prior: float = 0.0,
    radius: float | None = None,
    chunk: int = 256,
) -> Inversion:
    """Invert images (n, 1, 28, 28) in [−1, 1] from `restarts` codes z ~ N(0, I) each, in the generator's own precision.

    First `steps` of the assignment's gradient descent, then at most `iterations` of Levenberg-Marquardt and so many
    `evaluations` of BFGS, for all images and starts in one batch, `chunk` codes at a time. prior: weight of ‖z‖² in
    what is minimised (not in the loss reported). radius: search only where ‖z‖ = radius.
    Raises ValueError for another shape or range, for what is not finite, and for numbers out of range.
    """
    require_count(restarts=restarts, chunk=chunk)
    require_count(0, seed=seed, steps=steps, iterations=iterations, evaluations=evaluations)
    require_nonnegative(prior=prior)
    _validate(images, radius)
    weight = next(generator.parameters())
    images = images.to(weight)
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(len(images), restarts, generator.latent_dim, generator=rng).to(weight)
    targets = images.flatten(1).repeat_interleave(restarts, 0)
    searched = generator if radius is None else OnSphere(generator, radius)
    ends = []
    for z, x in zip(start.flatten(0, 1).split(chunk), targets.split(chunk), strict=True):
        z = gradient_descent(searched, x, z, steps, prior=prior)
        if iterations or not evaluations:
            end = z, *_ = levenberg_marquardt(searched, x, z, iterations, prior)
        if evaluations:
            end = quasi_newton(searched, x, z, evaluations, prior)
        ends.append(end)
    z, loss, slope = (torch.cat(parts) for parts in zip(*ends, strict=True))
    z = z if radius is None else searched.project(z)
    shape = (len(images), restarts)
    return Inversion(z.reshape(*shape, -1), loss.reshape(shape), slope.reshape(shape))


def gradient_descent(
    generator: nn.Module, images: Tensor, z: Tensor, steps: int, rate: float = 0.1, prior: float = 0.0
) -> Tensor:
    """The assignment's method: minimise ‖G(z) − x‖² over z (N, d) by Adam's gradient descent, G frozen."""
    z = z.clone().requires_grad_()
    adam = torch.optim.Adam([z], rate)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = (generator(z).flatten(1) - images).square().sum() + prior * z.square().sum()
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
    return z.detach()


def quasi_newton(
    generator: nn.Module, images: Tensor, z: Tensor, evaluations: int, prior: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Polish codes z (N, d) against images (N, D) by BFGS: the codes, their losses (N,) and gradient norms (N,).

    BFGS starts from the Gauss-Newton model's inverse Hessian, which knows the valleys; it then learns the kinks.
    """

    def look(codes: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return _loss_and_slope(generator, images[rows], codes, prior)

    H = 2 * _normal_equations(generator, images, z, prior)[0]
    z = bfgs.minimise(look, z, evaluations, torch.linalg.inv(H + 0.1 * torch.eye(z.shape[1]).to(z)))[0]
    loss, slope = _loss_and_slope(generator, images, z, prior)
    return z, loss - prior * z.square().sum(1), slope.norm(dim=1)


def _loss_and_slope(generator: nn.Module, images: Tensor, z: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        loss = _objective(generator, images, z, prior)
        (slope,) = torch.autograd.grad(loss.sum(), z)
    return loss.detach(), slope


@torch.no_grad()
def levenberg_marquardt(
    generator: nn.Module, images: Tensor, z: Tensor, iterations: int, prior: float = 0.0, gain: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor]:
    """Polish codes z (N, d) against images (N, D): the codes, their losses (N,) and gradient norms (N,).

    Each iteration solves (JᵀJ + (λ + prior) I) δ = −Jᵀr − prior z (Marquardt 1963) for several dampings λ at once and
    keeps the best code; the loss never rises. A code is left alone once 15 iterations gained less than `gain` of it.
    """
    z, damping = z.clone(), torch.ones(len(z)).to(z)
    objective = _objective(generator, images, z, prior)
    earlier, active = objective.clone(), torch.arange(len(z), device=z.device)
    for iteration in range(1, iterations + 1):
        H, slope = _normal_equations(generator, images[active], z[active], prior)
        best, found, used = objective[active], z[active], damping[active] * 10
        for factor in DAMPINGS:
            trial = damping[active] * factor
            ridge = torch.diag_embed(trial[:, None].expand_as(slope))
            candidate = z[active] - torch.linalg.solve(H + ridge, slope)
            value = _objective(generator, images[active], candidate, prior)
            better = value < best
            best, used = torch.where(better, value, best), torch.where(better, trial, used)
            found = torch.where(better[:, None], candidate, found)
        z[active], objective[active], damping[active] = found, best, used.clamp(1e-6, 1e6)
        if iteration % 15 == 0:
            moving = earlier[active] - objective[active] > gain * objective[active]
            earlier[active] = objective[active]
            active = active[moving]
            if not len(active):
                break
    slope = _normal_equations(generator, images, z, prior)[1]
    return z, objective - prior * z.square().sum(1), 2 * slope.norm(dim=1)


def _objective(generator: nn.Module, images: Tensor, z: Tensor, prior: float) -> Tensor:
    return (generator(z).flatten(1) - images).square().sum(1) + prior * z.square().sum(1)


def _normal_equations(generator: nn.Module, images: Tensor, z: Tensor, prior: float) -> tuple[Tensor, Tensor]:
    """JᵀJ + prior I (N, d, d) and half the gradient, Jᵀr + prior z (N, d), with J the Jacobian of the decoding."""

    def decode(code: Tensor) -> tuple[Tensor, Tensor]:
        x = generator(code.unsqueeze(0)).flatten()
        return x, x

    J, x = vmap(jacfwd(decode, has_aux=True))(z)
    eye = torch.eye(z.shape[1]).to(z)
    return J.mT @ J + prior * eye, (J.mT @ (x - images).unsqueeze(-1)).squeeze(-1) + prior * z


def _validate(images: Tensor, radius: float | None) -> None:
    if images.dim() != 4 or images.shape[1:] != (1, 28, 28) or not len(images):
        raise ValueError(f"images must be (n, 1, 28, 28) with n ≥ 1, not {tuple(images.shape)}.")
    if not torch.isfinite(images).all():
        raise ValueError("images hold NaN or infinite pixels: give finite values in [−1, 1].")
    if images.abs().max() > 1 + 1e-6:
        raise ValueError(f"images must lie in [−1, 1], but reach {images.abs().max().item():.3g}: rescale them.")
    if radius is not None and not radius > 0:
        raise ValueError(f"radius must be positive, not {radius}; None leaves the length of z free.")
