"""Terms for the generator's loss that make paths between codes cheap, and a control that does not.

A term's forward(G, z, fakes, images, rng) is a scalar: by how much ρ = U/½‖x_A − x_B‖²‖z_A − z_B‖² exceeds 1, from a
batch of codes z, their decodings and real images.
"""

import torch
from torch import Tensor, nn

from helpers.geodesics import shortest_path
from helpers.paths import conformal_density, image_cost


def straight_line_excess(G: nn.Module, z: Tensor, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """How far ρ of the straight lines between neighbours in a batch is above its floor of 1: a scalar.

    z (B, d) are codes of the images (B, 1, 28, 28), which are held fixed. With t uniform this is an unbiased
    estimate of Σ ∫ c(Z(t)) dt / Σ ½‖xA − xB‖² − 1, in which ‖zA − zB‖ has cancelled: a scale of z cannot cheat it.
    """
    x_a, x_b = images.detach(), images.detach().roll(1, 0)
    t = torch.rand(len(z), 1, generator=generator, device=z.device, dtype=z.dtype)
    between = G(torch.lerp(z, z.roll(1, 0), t))
    cost = (between - x_a).square().sum() + (between - x_b).square().sum()
    return cost / (x_a - x_b).square().sum().mul(0.5) - 1


class Term(nn.Module):
    """What all terms share: made for codes of `latent_dim`, and with nothing to prepare before an epoch."""

    def __init__(self, latent_dim: int):
        super().__init__()

    def begin(self, G: nn.Module, images: Tensor, epoch: int, rng: torch.Generator) -> None:
        """Called before each epoch, with all real images."""


class StraightLines(Term):
    """Straight lines between codes of the prior, which bound the least U from above: no inner problem at all."""

    def forward(self, G: nn.Module, z: Tensor, fakes: Tensor, images: Tensor, rng: torch.Generator) -> Tensor:
        return straight_line_excess(G, z, fakes, rng)


class FrozenPaths(Term):
    """Shortest paths between codes of the prior, solved before each epoch and then held, by the envelope theorem."""

    def __init__(self, latent_dim: int, pairs: int = 128, segments: int = 8):
        super().__init__(latent_dim)
        self.register_buffer("path", torch.zeros(pairs, segments + 1, latent_dim))
        self.register_buffer("ends", torch.zeros(2, pairs, 1, 28, 28))

    @torch.no_grad()
    def begin(self, G: nn.Module, images: Tensor, epoch: int, rng: torch.Generator) -> None:
        """Draw new pairs and solve for their shortest paths."""
        pairs, points, size = self.path.shape
        z = torch.randn(2, pairs, size, generator=rng, device=self.path.device)
        self.ends.copy_(G(z.flatten(0, 1)).unflatten(0, (2, pairs)))
        self.path.copy_(shortest_path(G, *z, *self.ends, points).path)

    def forward(self, G: nn.Module, z: Tensor, fakes: Tensor, images: Tensor, rng: torch.Generator) -> Tensor:
        segments = self.path.shape[1] - 1
        drawn = torch.rand(2, len(z), generator=rng, device=z.device)
        row, segment = (drawn[0] * len(self.path)).long(), (drawn[1] * segments).long()
        piece = torch.stack([self.path[row, segment], self.path[row, segment + 1]], 1)
        x_a, x_b = self.ends[:, row]
        apart = (self.path[row, -1] - self.path[row, 0]).square().sum(1)
        cost = conformal_density(image_cost(G, x_a, x_b), piece)[:, 0] * segments**2 / apart
        return cost.sum() / (x_a - x_b).square().sum().mul(0.5) - 1


class InvertedEnds(Term):
    """Straight lines between codes of *real* images, from an encoder that learns to invert the generator beside it.

    The encoder minimises what inversion does, ‖G(z) − x‖² + prior‖z‖², amortised over images, and is thrown away after
    training. That objective counts twice, in units of the floor ½‖x_A − x_B‖².
    """

    def __init__(self, latent_dim: int, prior: float = 0.1, warm_up: int = 500, batch: int = 128):
        super().__init__(latent_dim)
        self.prior, self.warm_up, self.batch = prior, warm_up, batch
        layers = [nn.Linear(784, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2)]
        self.encoder = nn.Sequential(nn.Flatten(), *layers, nn.Linear(256, latent_dim))

    def inversion_loss(self, G: nn.Module, images: Tensor, z: Tensor) -> Tensor:
        """‖G(z) − x‖² + prior‖z‖², summed over the batch."""
        return (G(z) - images).square().sum() + self.prior * z.square().sum()

    def begin(self, G: nn.Module, images: Tensor, epoch: int, rng: torch.Generator) -> None:
        """Before the first epoch the encoder alone learns, lest its first codes mislead the generator."""
        if epoch:
            return
        adam = torch.optim.Adam(self.encoder.parameters(), 1e-3)
        for _ in range(self.warm_up):
            x = images[torch.randint(len(images), (self.batch,), generator=rng, device=images.device)]
            adam.zero_grad()
            (self.inversion_loss(G, x, self.encoder(x)) / len(x)).backward(inputs=list(self.encoder.parameters()))
            adam.step()

    def forward(self, G: nn.Module, z: Tensor, fakes: Tensor, images: Tensor, rng: torch.Generator) -> Tensor:
        codes = self.encoder(images)
        floor = (images - images.roll(1, 0)).square().sum().mul(0.5)
        lines = straight_line_excess(G, codes, images, rng)
        return lines + 2 * self.inversion_loss(G, images, codes) / floor


class PathLength(Term):
    """StyleGAN2's path length penalty, E(‖Jᵀy‖ − a)², y ~ N(0, I/784), a the running mean (Karras et al. 2020, eq. 4).

    A control: it evens the generator's slopes and knows nothing of U.
    """

    def __init__(self, latent_dim: int):
        super().__init__(latent_dim)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, G: nn.Module, z: Tensor, fakes: Tensor, images: Tensor, rng: torch.Generator) -> Tensor:
        codes = z[: len(z) // 2].clone().requires_grad_()  # half a batch, as in the paper: it costs a second derivative
        y = torch.randn(len(codes), 784, generator=rng, device=z.device) / 28
        (slope,) = torch.autograd.grad((G(codes).flatten(1) * y).sum(), codes, create_graph=True)
        length = slope.norm(dim=1)
        self.mean.lerp_(length.detach().mean(), 0.01 if self.mean else 1.0)
        return (length - self.mean).square().mean()


TERMS = {"lines": StraightLines, "paths": FrozenPaths, "ends": InvertedEnds, "length": PathLength}
