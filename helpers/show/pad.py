"""A pad: two latent directions as the two directions of a square, in which the sample changes under the finger."""

import torch
from torch import Tensor, nn

from helpers.compute import one_thread
from helpers.inversion import weights_or
from helpers.show.decoder import bytes_of, short
from helpers.show.explorers import principal_directions
from helpers.show.play import Play

LIMIT = 3.0  # how far the pad reaches in each direction
MAP = 5  # pictures across the pad


class Pad(Play):
    """G(z + x · first + y · second) for samples z (N, d): |x|, |y| ≤ LIMIT along two directions at right angles.

    For each z, these are the directions in which the image changes fastest. Pixels must be 28 × 28.
    """

    name = "pad"

    def __init__(self, generator: nn.Module, samples: Tensor):
        self.samples = samples.to(weights_or(generator, samples))
        self.directions = torch.stack([principal_directions(generator, z, 2)[0] for z in self.samples])
        content = {"limit": LIMIT, "map": MAP, "count": len(samples), "size": samples.shape[1]}
        content |= {"samples": short(self.samples), "directions": short(self.directions)}
        super().__init__(generator, self.samples, content)

    @torch.no_grad()
    def answer_to(self, asked: dict) -> dict:
        """The images at places (N, 2) around the sample asked for."""
        places = torch.tensor(asked["places"]).to(self.samples)
        with one_thread():
            images = self.generator(self.samples[asked["sample"]] + places @ self.directions[asked["sample"]])
        return {"images": bytes_of(images)}
