"""A film of a generator's training: what the same codes decode to after each epoch."""

import torch
from torch import nn


class Film(nn.Module):
    """The same ten codes decoded after each epoch, kept with the model: (epochs, 10, 28, 28), 8 bits."""

    def __init__(self, latent_dim: int, epochs: int):
        super().__init__()
        self.register_buffer("z", torch.randn(10, latent_dim))
        self.register_buffer("frames", torch.zeros(epochs, 10, 28, 28, dtype=torch.uint8))

    @torch.no_grad()
    def shoot(self, generator: nn.Module, epoch: int) -> None:
        self.frames[epoch] = ((generator(self.z).squeeze(1) + 1) * 127.5).round().to(torch.uint8)
