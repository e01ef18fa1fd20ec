"""GAN inversion: codes z that minimise ‖G(z) − x‖² + prior ‖z‖², by gradient descent and then BFGS, many at once.

A generator is a module or a plain function from codes (N, d) to N images.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from helpers.compute import require_count, require_nonnegative
from helpers.optimise import BFGS, minimise

RESTARTS, PRIOR, EVALUATIONS = 4, 0.1, 200  # of `invert`; notebook 6 shows why
STEPS = 200  # of gradient descent
CHUNK = 256  # codes in one batch

Decode = Callable[[Tensor], Tensor]  # a generator: codes (N, d) to N images


@dataclass(frozen=True)
class Inversion:
    z: Tensor  # (n, restarts, d): end points for n images from several starts each
    loss: Tensor  # (n, restarts): ‖G(z) − x‖², summed over pixels
    objective: Tensor  # (n, restarts): what was minimised, loss + prior ‖z‖²

    def best(self) -> Tensor:
        """The code with the lowest objective for each image, (n, d)."""
        return self.z[torch.arange(len(self.z), device=self.z.device), self.objective.argmin(1)]


def invert(
    generator: Decode,
    images: Tensor,
    restarts: int = RESTARTS,
    seed: int = 0,
    prior: float = PRIOR,
    evaluations: int = EVALUATIONS,
    latent_dim: int | None = None,
) -> Inversion:
    """Invert images (n, …) in [−1, 1], of the shape that the generator outputs, from `restarts` random starts each.

    A module works in the precision of its weights, a plain function in that of the images.
    prior: weight of ‖z‖² in the objective ‖G(z) − x‖² + prior ‖z‖². evaluations: of the objective and its gradient, at
    most so many for each start by BFGS, after STEPS steps of gradient descent. latent_dim: the number d of latent
    dimensions, by default generator.latent_dim.
    Raises ValueError for images of another shape, type or range, for a generator in training mode, and for an unknown
    latent_dim. Warns where the images look like ink on white paper or like values in [0, 1].
    """
    require_count(restarts=restarts, evaluations=evaluations)
    require_count(0, seed=seed)
    require_nonnegative(prior=prior)
    require_images(images)
    require_evaluation_mode(generator)
    start = starts(len(images), restarts, latent_size(generator, latent_dim), seed)
    start = start.to(weights_or(generator, images)).flatten(0, 1)
    targets = images.to(start).repeat_interleave(restarts, 0)
    with torch.no_grad():
        outputs = generator(start[:CHUNK])
    require_shape(images, outputs)
    warn_of_background(images, outputs)
    z, loss = end_points(generator, targets, start, evaluations, prior)
    total = loss + prior * z.square().sum(1)
    per_image = (len(images), restarts)
    return Inversion(z.unflatten(0, per_image), loss.unflatten(0, per_image), total.unflatten(0, per_image))


def end_points(G: Decode, x: Tensor, start: Tensor, evaluations: int, prior: float) -> tuple[Tensor, Tensor]:
    """End points z (N, d) and losses ‖G(z) − x‖² (N,) of gradient descent, then BFGS, from N codes for N images."""
    codes, losses = [], []
    for z, images in zip(start.split(CHUNK), x.split(CHUNK), strict=True):
        z = gradient_descent(G, images, z, STEPS, prior)
        z = quasi_newton(G, images, z, evaluations, prior)
        codes.append(z)
        losses.append(objective(G, images, z).detach())
    return torch.cat(codes), torch.cat(losses)


def objective(G: Decode, x: Tensor, z: Tensor, prior: float = 0.0) -> Tensor:
    """‖G(z) − x‖² + prior ‖z‖² of codes z (N, d) and N images x (N, …), or one, flattened or not: (N,)."""
    outputs = G(z).flatten(1)
    return (outputs - x.reshape(-1, outputs.shape[1])).square().sum(1) + prior * z.square().sum(1)


def starts(images: int, restarts: int, latent_dim: int, seed: int) -> Tensor:
    """The codes z ~ N(0, I) from which `invert` starts, (images, restarts, latent_dim), float32 on the CPU."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(images, restarts, latent_dim, generator=rng, dtype=torch.float32)


def gradient_descent(G: Decode, x: Tensor, z: Tensor, steps: int, prior: float = 0.0, rate: float = 0.1) -> Tensor:
    """Minimise the objective over codes z (N, d) by gradient descent (Adam), with the generator G frozen."""
    z = z.clone().requires_grad_()
    adam = torch.optim.Adam([z], lr=rate)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = objective(G, x, z, prior).sum()
        (z.grad,) = torch.autograd.grad(loss, z)
        adam.step()
    return z.detach()


def quasi_newton(G: Decode, x: Tensor, z: Tensor, evaluations: int, prior: float = 0.0) -> Tensor:
    """Minimise the objective over codes z (N, d) by BFGS, starting from the Gauss-Newton Hessian."""
    hessian = gauss_newton(G, z, prior) + 0.1 * torch.eye(z.shape[1]).to(z)
    model = BFGS(torch.linalg.inv(hessian))
    return minimise(lambda z, rows: objective(G, x[rows], z, prior), z, model, evaluations, 1e-15).x


def gauss_newton(G: Decode, z: Tensor, prior: float = 0.0) -> Tensor:
    """2 (JᵀJ + prior I), (N, d, d), with J the Jacobian of the decoding of codes z (N, d)."""
    J = vmap(jacfwd(lambda code: G(code.unsqueeze(0)).flatten()))(z)
    return 2 * (J.mT @ J + prior * torch.eye(z.shape[1]).to(z))


def in_double(generator: nn.Module) -> nn.Module:
    """A copy of a generator in double precision, in which minima can be told from points that are nearly so."""
    return copy.deepcopy(generator).double()


def require_evaluation_mode(generator: Decode) -> None:
    """Raise ValueError if the generator has layers in training mode that would change, or be random, with each call."""
    if not isinstance(generator, nn.Module):
        return
    for layer in generator.modules():
        if layer.training and isinstance(layer, _NormBase | _DropoutNd):
            raise ValueError(
                f"the generator's {type(layer).__name__} is in training mode: call generator.eval() first."
            )


def require_images(images: Tensor) -> None:
    """Raise ValueError unless the images are a tensor (n, …) of n ≥ 1 images with floating-point values in [−1, 1]."""
    if not isinstance(images, Tensor):
        raise ValueError(f"images must be a torch.Tensor, not {type(images).__name__}: use torch.as_tensor(images).")
    if images.dim() < 2 or not images.numel():
        raise ValueError(f"images must be (n, …) with n ≥ 1, such as (n, 1, 28, 28), not {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise ValueError(f"images must be floating-point values in [−1, 1], not {images.dtype}: use x / 127.5 - 1.")
    if not images.abs().max() <= 1 + 1e-6:  # false for NaN, too
        raise ValueError("images must be finite and lie in [−1, 1]: rescale them.")


def latent_size(generator: Decode, latent_dim: int | None) -> int:
    """The number of latent dimensions: as given, else the generator's attribute; ValueError where neither is known."""
    size = getattr(generator, "latent_dim", None) if latent_dim is None else latent_dim
    if size is None:
        raise ValueError("the generator has no attribute latent_dim: pass the size of its codes as latent_dim=….")
    require_count(latent_dim=size)
    return size


def weights_or(generator: Decode, otherwise: Tensor) -> Tensor:
    """A tensor of the generator's type and device: its first weights, or `otherwise` for a function without any."""
    return next(generator.parameters(), otherwise) if isinstance(generator, nn.Module) else otherwise


def require_shape(images: Tensor, outputs: Tensor) -> None:
    """Raise ValueError unless the images (n, …) have the shape of the generator's outputs (N, …)."""
    if outputs.shape[1:] != images.shape[1:]:
        shapes = f"{tuple(images.shape[1:])}, but the generator outputs {tuple(outputs.shape[1:])}"
        raise ValueError(f"the images are {shapes}: they must have one shape.")


def warn_of_background(images: Tensor, outputs: Tensor) -> None:
    """Warn where images (n, …) have no black, or more light than dark, although the generator's outputs are dark.

    Digits are light ink on black, from −1 to 1; no MNIST digit has a mean above −0.2.
    """
    if outputs.mean() > -0.3:
        return
    pixels = images.flatten(1)
    if (pixels.amin(1) > -0.1).any():
        warnings.warn("some images have no value below −0.1 and look like [0, 1]: use 2 * x - 1.", stacklevel=3)
    elif (pixels.mean(1) > 0).any():
        warnings.warn("some images have a mean above 0 and look like dark ink on white: negate them.", stacklevel=3)
