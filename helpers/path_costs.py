"""What minimal paths between real images cost with a generator: U and its factors, measured once and stored."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from helpers import data, evaluation, gan, store
from helpers.compute import device, in_batches
from helpers.config import AsTuple, Count, CountOrZero, Nonnegative, changes, configuration
from helpers.inversion import invert
from helpers.path_aware import OnSphere
from helpers.paths import linear_path, path_energy, shortest_path
from helpers.provenance import sha256

QUANTITIES = ("energy", "rho", "rho_line", "distance", "norm", "error")


@configuration
class Protocol:
    """Between which images, and with which codes, minimal paths are measured."""

    split: Literal["test", "train"] = "test"
    first: CountOrZero = 2000  # index of the first image; the 50 from 2,000 on are used in no other chapter
    pairs: Count = 25  # of neighbours: images 2,000 and 2,001, and so on
    penalties: Annotated[tuple[Nonnegative, ...], Field(min_length=1), AsTuple] = (0.01, 0.1, 1.0)  # μ of the inversion
    on_sphere: bool = False  # invert with codes of norm √d only
    points: Annotated[int, Field(ge=3)] = 33  # of a path
    samples: Count = 10_000  # for the Fréchet distance, of the test images or of the training images from `first` on
    seed: CountOrZero = 0

    def __post_init__(self):
        if self.first + 2 * self.pairs > {"test": 10_000, "train": 60_000}[self.split]:
            raise ValueError(f"there are no {self.pairs} pairs of {self.split} images from number {self.first} on.")

    def images(self) -> tuple[Tensor, Tensor]:
        """The first and the second images of the pairs, (pairs, 1, 28, 28) each."""
        images = data.mnist(self.split)[0][self.first :][: 2 * self.pairs]
        return images[::2], images[1::2]


@dataclass(frozen=True)
class PathCosts:
    """Facts of minimal paths for each penalty μ of a protocol (first dimension) and each pair (second dimension)."""

    energy: Tensor  # U of the minimiser
    rho: Tensor  # U / (½‖x_A − x_B‖² ‖z_A − z_B‖²)
    rho_line: Tensor  # the same for the straight line at uniform speed
    distance: Tensor  # ‖z_A − z_B‖²
    norm: Tensor  # mean of ‖z_A‖ and ‖z_B‖
    error: Tensor  # mean inversion error ‖G(z) − x‖² of both images
    frechet: float  # of the generator's samples
    record: dict  # of the training, see `of_training`; otherwise empty


def measure(G: nn.Module, protocol: Protocol, classifier: nn.Module) -> dict[str, Tensor]:
    """The QUANTITIES of a generator, (penalties, pairs) each, and "frechet"."""
    rows = [costs(G, protocol, penalty) for penalty in protocol.penalties]
    found = {name: torch.stack([row[name] for row in rows]).double() for name in QUANTITIES}
    return found | {"frechet": torch.tensor(frechet(G, protocol, classifier), dtype=torch.float64)}


def costs(G: nn.Module, protocol: Protocol, penalty: float) -> dict[str, Tensor]:
    """The QUANTITIES for one penalty μ of the inversion, (pairs,) each."""
    x_a, x_b = protocol.images()
    z_a, z_b = codes(G, torch.cat([x_a, x_b]), protocol, penalty).chunk(2)
    shortest = shortest_path(G, z_a, z_b, x_a, x_b, protocol.points)
    line = path_energy(G, linear_path(z_a, z_b, protocol.points), x_a, x_b)
    errors = [(in_batches(G, z) - x).square().sum((1, 2, 3)) for z, x in ((z_a, x_a), (z_b, x_b))]
    return {
        "energy": shortest.energy,
        "rho": shortest.rho,
        "rho_line": line / shortest.lower_bound,
        "distance": (z_a - z_b).square().sum(1),
        "norm": (z_a.norm(dim=1) + z_b.norm(dim=1)) / 2,
        "error": sum(errors) / 2,
    }


def codes(G: nn.Module, images: Tensor, protocol: Protocol, penalty: float) -> Tensor:
    """Codes (n, d) of images (n, 1, 28, 28), of any norm or of norm √d, as the protocol says."""
    if not protocol.on_sphere:
        return invert(G, images, seed=protocol.seed, prior=penalty).best()
    scaled = nn.Sequential(OnSphere(), G)
    return OnSphere()(invert(scaled, images, seed=protocol.seed, prior=penalty, latent_dim=G.latent_dim).best())


def frechet(G: nn.Module, protocol: Protocol, classifier: nn.Module) -> float:
    """The Fréchet distance of samples to all test images, or to all training images from the first one on."""
    images = evaluation.sample(G, protocol.samples, protocol.seed)
    if protocol.split == "test":
        return evaluation.frechet(images, classifier)
    reference = data.mnist("train")[0][protocol.first :]
    features = [in_batches(classifier.features, part) for part in (images, reference)]
    return evaluation.frechet_distance(*features)


def of_generator(G: nn.Module, protocol: Protocol, classifier: nn.Module) -> PathCosts:
    """The path costs of a generator, measured now unless they are stored under the hash of its weights."""
    settings = {"generator": sha256(G), "protocol": changes(protocol), "seed": protocol.seed}
    return _stored(settings, lambda: (measure(G, protocol, classifier), {}))


def between_samples(G: nn.Module, pairs: int, points: int = 33, seed: int = 0) -> dict[str, Tensor]:
    """Energy U and ratio ρ (pairs,) of minimal paths between codes drawn from N(0, I), for their own images G(z).

    They are measured now unless they are stored under the hash of the generator's weights.
    """

    def compute() -> store.Measurement:
        rng = torch.Generator().manual_seed(seed)
        z_a, z_b = torch.randn(2, pairs, G.latent_dim, generator=rng).to(device())
        shortest = shortest_path(G, z_a, z_b, in_batches(G, z_a), in_batches(G, z_b), points)
        return {"energy": shortest.energy, "rho": shortest.rho}, {}

    settings = {"generator": sha256(G), "samples": 2 * pairs, "points": points, "seed": seed}
    return store.measured("path-costs", settings, compute)[0]


def of_training(config: gan.GanConfig, base: store.Trained, protocol: Protocol, name: str = "") -> PathCosts:
    """The path costs after a training that continues that of `base`: stored, or trained and measured now.

    name: as in `gan.train`. Of a training that is not in `gan.CONFIGS`, only the measurement and the record are
    shipped.
    """
    config = replace(config, keep=("generator",))
    training = changes(replace(config, base=gan.base_hash(base)))
    settings = {"training": training, "protocol": changes(protocol), "seed": config.seed}

    def compute() -> store.Measurement:
        model = gan.train(config, name, base)
        classifier = evaluation.train_classifier(config.classifier).modules["classifier"]
        return measure(model.modules["generator"], protocol, classifier), {"training": model.record}

    return _stored(settings, compute)


def log_changes(costs: PathCosts, before: PathCosts) -> dict[str, Tensor]:
    """ln of the ratios of U, ρ and ‖z_A − z_B‖² to those of another model, mean over the pairs: (penalties,) each.

    For the same images, U = ρ · ½‖x_A − x_B‖² · ‖z_A − z_B‖², so the changes of ρ and of the distance add up to U's.
    """
    return {
        name: (getattr(costs, name) / getattr(before, name)).log().mean(1) for name in ("energy", "rho", "distance")
    }


def _stored(settings: dict, compute: Callable[[], store.Measurement]) -> PathCosts:
    tensors, record = store.measured("path-costs", settings, compute)
    return PathCosts(
        **{name: tensors[name] for name in QUANTITIES},
        frechet=tensors["frechet"].item(),
        record=record.get("training", {}),
    )
