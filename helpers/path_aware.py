"""Path-aware training: the losses that lower the energy of paths between the codes of real images."""

import torch
from torch import Tensor, nn

from helpers.inversion import PRIOR
from helpers.networks import SLOPE


class Encoder(nn.Sequential):
    """Learns to invert a generator during its training: maps images (B, 1, 28, 28) to codes (B, latent_dim)."""

    def __init__(self, latent_dim: int):
        super().__init__(
            nn.Flatten(),
            nn.Linear(784, 512),
            nn.LeakyReLU(SLOPE),
            nn.Linear(512, 256),
            nn.LeakyReLU(SLOPE),
            nn.Linear(256, latent_dim),
        )


def straight_line_excess(G: nn.Module, z: Tensor, images: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """The path loss of a batch: ρ of the straight lines between the codes of neighbouring images, minus 1 (a scalar).

    z (B, d) are the codes of the images (B, 1, 28, 28), which are treated as constants. With uniform t this is an
    unbiased estimate of Σ ∫ c(Z(t)) dt / Σ ½‖x_A − x_B‖² − 1. Since ‖z_A − z_B‖ cancels, rescaling z cannot lower it.
    """
    x_a = images.detach()
    x_b = x_a.roll(1, 0)
    t = torch.rand(len(z), 1, generator=rng, device=z.device, dtype=z.dtype)
    between = G(torch.lerp(z, z.roll(1, 0), t))
    cost = (between - x_a).square().sum() + (between - x_b).square().sum()
    return cost / (x_a - x_b).square().sum().mul(0.5) - 1


def inversion_loss(G: nn.Module, images: Tensor, z: Tensor, prior: float = PRIOR) -> Tensor:
    """‖G(z) − x‖² + prior ‖z‖², the objective of the inversion, summed over a batch of images and codes z (B, d)."""
    return (G(z) - images).square().sum() + prior * z.square().sum()


def path_losses(
    G: nn.Module, encoder: Encoder, images: Tensor, rng: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Path loss and inversion loss of real images (B, 1, 28, 28), relative to the lower bound ½ Σ ‖x_A − x_B‖²."""
    codes = encoder(images)
    lower_bound = (images - images.roll(1, 0)).square().sum().mul(0.5)
    path_loss = straight_line_excess(G, codes, images, rng)
    return path_loss, 2 * inversion_loss(G, images, codes) / lower_bound


def warm_up(
    encoder: Encoder, G: nn.Module, images: Tensor, rng: torch.Generator, steps: int = 500, batch: int = 128
) -> None:
    """Train the encoder alone before the first epoch, so that the generator is not trained on poor codes."""
    weights = list(encoder.parameters())
    optimizer = torch.optim.Adam(weights, 1e-3)
    for _ in range(steps):
        x = images[torch.randint(len(images), (batch,), generator=rng, device=images.device)]
        optimizer.zero_grad()
        loss = inversion_loss(G, x, encoder(x)) / batch
        loss.backward(inputs=weights)  # the generator gets no gradient
        optimizer.step()
