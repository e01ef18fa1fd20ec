"""End points of inversions from many starts: what is certified of each, and whether barriers separate them.

Notebook 06 explains both. What is found for a generator is stored, see `store.measured`.
"""

from dataclasses import dataclass

import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers import certificate, store
from helpers.certificate import KINDS
from helpers.compute import in_batches, training_threads
from helpers.inversion import Decode, gradient_descent, in_double, invert, objective, starts
from helpers.provenance import sha256

POINTS = 33  # of the line on which a barrier is looked for


@dataclass(frozen=True)
class EndPoints:
    """Where the inversions of n images end, from several starts for each, and what is certified there."""

    z: Tensor  # (n, starts, d)
    loss: Tensor  # (n, starts): ‖G(z) − x‖²
    kind: Tensor  # (n, starts): the place in certificate.KINDS
    kinks: Tensor  # (n, starts), as the next two: facts of the certificate
    residual: Tensor
    margin: Tensor

    @property
    def certified(self) -> Tensor:
        """Which of them are certified local minima, (n, starts)."""
        return self.kind < 2

    def best(self) -> Tensor:
        """The code with the lowest loss for each image, (n, d)."""
        return self.z[torch.arange(len(self.z), device=self.z.device), self.loss.argmin(1)]


def of_generator(
    generator: nn.Module, name: str, images: Tensor, restarts: int, seed: int, prior: float, evaluations: int
) -> EndPoints:
    """The end points for the first test images (n, 1, 28, 28): stored, or found and certified now, image by image.

    generator: as it was trained; the search is in double precision. name: "inversion-…", of the stored file. The other
    arguments are those of `invert`; image i has the seed `seed` + i.
    """
    method = {"restarts": restarts, "seed": seed, "prior": prior, "evaluations": evaluations}

    def compute() -> store.Measurement:
        with training_threads():
            return search(in_double(generator), images.double(), **method), {}

    settings = {"model": sha256(generator), "digits": len(images)} | method
    tensors, _ = store.measured(name, settings, compute)
    return EndPoints(**tensors)


def search(G: nn.Module, images: Tensor, restarts: int, seed: int, prior: float, evaluations: int) -> dict[str, Tensor]:
    """The fields of `EndPoints`."""
    rows = []
    for i, x in enumerate(tqdm(images, desc="inversion", unit="image")):
        found = invert(G, x[None], restarts, seed + i, prior, evaluations)
        rows.append(certified(G, x, found.z[0], prior))
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


def after_descent(
    generator: nn.Module, name: str, images: Tensor, restarts: int, seed: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Codes (n, starts, d) and losses (n, starts) after so many steps of gradient descent alone.

    The starts are those of `of_generator`. The results are stored, or found now, image by image, in single precision.
    name: "descent-…", of the stored file.
    """

    def compute() -> store.Measurement:
        codes, losses = [], []
        with training_threads():
            for i, x in enumerate(tqdm(images.float(), desc="gradient descent", unit="image")):
                start = starts(1, restarts, generator.latent_dim, seed + i)[0].to(x)
                codes.append(gradient_descent(generator, x, start, steps).detach())
                losses.append(objective(generator, x, codes[-1]).detach())
        return {"z": torch.stack(codes), "loss": torch.stack(losses)}, {}

    method = {"restarts": restarts, "seed": seed, "steps": steps}
    tensors, _ = store.measured(name, {"model": sha256(generator), "digits": len(images)} | method, compute)
    return tensors["z"], tensors["loss"]


def certified(G: nn.Module, x: Tensor, z: Tensor, prior: float) -> dict[str, Tensor]:
    """What is certified of end points z (starts, d) of one image; a certified code is moved to its minimum."""
    proofs = [certificate.certify(G, x.flatten(), code, prior) for code in z]
    moved = [code if proof.kind == "not converged" else proof.z for code, proof in zip(z, proofs, strict=True)]
    z = torch.stack(moved)
    facts = {
        "kind": [KINDS.index(proof.kind) for proof in proofs],
        "kinks": [proof.kinks for proof in proofs],
        "residual": [proof.residual for proof in proofs],
        "margin": [proof.margin for proof in proofs],
    }
    found = {"z": z, "loss": objective(G, x, z).detach()}
    return found | {key: torch.tensor(values).to(z) for key, values in facts.items()}


def without_barrier(G: Decode, x: Tensor, z: Tensor, value: Tensor, prior: float = 0.0) -> Tensor:
    """Which pairs of codes (R, d), with objectives (R,), the straight line joins without a barrier: (R, R).

    There is a barrier if the objective at one of POINTS points exceeds the higher of both ends by more than 1 %.
    """
    i, j = torch.triu_indices(len(z), len(z), 1)
    last = POINTS - 1
    for k in sorted(range(1, last), key=lambda k: abs(k - last // 2)):  # the inner ones, from the middle
        between = torch.lerp(z[i], z[j], k / last)
        height = in_batches(lambda codes: objective(G, x, codes, prior), between)
        low = (height <= 1.01 * torch.maximum(value[i], value[j])).to(i.device)
        i, j = i[low], j[low]
    linked = torch.eye(len(z), dtype=torch.bool, device=z.device)
    linked[i, j] = True
    return linked | linked.T


def groups(linked: Tensor) -> int:
    """The number of connected components of a graph, from its adjacency matrix (R, R)."""
    return connected_components(linked.cpu().numpy())[0]
