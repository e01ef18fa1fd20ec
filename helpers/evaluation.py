"""Scores of generated digits, computed from the features of a fixed classifier: distances, coverage, class balance."""

import functools
import warnings
from typing import Annotated

import scipy.stats
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from helpers import data, store
from helpers.compute import device, in_batches
from helpers.config import Count, CountOrZero, Nonnegative, configuration

NEIGHBOURS = 5  # k of precision, recall, density and coverage
NAMES = {  # the names of the scores in tables
    "frechet": "Fréchet",
    "kernel": "kernel × 1000",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "class_kl": "class KL",
}


class Classifier(nn.Module):
    """A small convolutional classifier from images (B, 1, 28, 28) to logits (B, 10), with 64 features (B, 64)."""

    def __init__(self, channels: int = 16):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * channels * 49, 64),
            nn.ReLU(),
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


_classifiers: dict[str, store.Trained] = {}  # by SHA-256: one object each, for which `reference_features` are cached


@configuration
class ClassifierConfig:
    """Settings of the classifier's training. Raises ValueError if one is out of its range."""

    epochs: Count = 8
    seed: CountOrZero = 0
    images: Annotated[int, Field(ge=1, le=60_000)] = 60_000
    channels: Count = 16
    learning_rate: Nonnegative = 2e-3  # falls linearly to 0


class ClassifierTraining:
    """A classifier with its optimiser and random numbers, as the store needs them."""

    def __init__(self, config: ClassifierConfig):
        self.config = config
        self.classifier = Classifier(config.channels).to(device())
        self.rng = torch.Generator(device()).manual_seed(config.seed)
        self.adam = torch.optim.Adam(self.classifier.parameters(), config.learning_rate)
        self.kept = {"classifier": self.classifier}
        self.code = [Classifier, ClassifierTraining.step]
        self.data = data.fingerprint("train")

    def step(self, x: Tensor, y: Tensor) -> float:
        """One step on images x (B, 1, 28, 28), all moved by the same random shift of up to two pixels, and labels y."""
        shift = torch.randint(-2, 3, (2,), generator=self.rng, device=device()).tolist()
        loss = F.cross_entropy(self.classifier(x.roll(shift, (2, 3))), y)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        return loss.item()


def train_classifier(config: ClassifierConfig = ClassifierConfig()) -> store.Trained:  # noqa: B008 (it is frozen)
    """The module "classifier", trained on real images only: loaded if stored, otherwise trained."""
    with store.training("classifier", config, lambda: ClassifierTraining(config)) as run:
        for epoch in run.epochs():
            training = run.model
            x, y = data.mnist("train")
            x, y = x[: config.images], y[: config.images]
            training.adam.param_groups[0]["lr"] = config.learning_rate * (1 - epoch / config.epochs)
            batches = torch.randperm(len(x), generator=training.rng, device=device()).split(128)
            losses = [training.step(x[batch], y[batch]) for batch in batches]
            run.log({"loss": sum(losses) / len(losses)})
    return _classifiers.setdefault(run.trained.record["sha256"], run.trained)


def sample(generator: nn.Module, count: int, seed: int = 0) -> Tensor:
    """Images (count, 1, 28, 28) of codes z ~ N(0, I), which are the same for all generators with this latent size."""
    rng = torch.Generator(device()).manual_seed(seed)
    return in_batches(generator, torch.randn(count, generator.latent_dim, generator=rng, device=device()))


def scores(images: Tensor, classifier: Classifier) -> dict[str, float]:
    """All scores of images (N, 1, 28, 28) in [−1, 1], relative to the 10,000 test images.

    The keys are those of NAMES (class_kl in nats) and "confidence", the mean of the largest class probability.
    Raises ValueError if the images are not floating-point numbers in [−1, 1].
    """
    features, reference = _features(images, classifier), reference_features(classifier)
    logits = in_batches(classifier.head, features)
    return {
        "frechet": frechet_distance(features, reference),
        "kernel": kernel_distance(features, reference),
        **neighbour_scores(features, reference),
        "class_kl": class_divergence(logits.argmax(1), data.mnist("test")[1]),
        "confidence": logits.softmax(1).amax(1).mean().item(),
    }


def frechet(images: Tensor, classifier: Classifier) -> float:
    """The Fréchet distance of images (N, 1, 28, 28) in [−1, 1] to the test images; raises ValueError as `scores`."""
    return frechet_distance(_features(images, classifier), reference_features(classifier))


@functools.cache
def reference_features(classifier: Classifier) -> Tensor:
    """The classifier's features (10,000, 64) of the test images."""
    return in_batches(classifier.features, data.mnist("test")[0])


def _features(images: Tensor, classifier: Classifier) -> Tensor:
    low, high = images.aminmax()
    if not (images.is_floating_point() and low >= -1.0001 and high <= 1.0001):  # false for NaN, too
        raise ValueError(f"images must have values in [−1, 1], not {images.dtype} from {low:.4g} to {high:.4g}.")
    return in_batches(classifier.features, images)


_identity = nn.Identity()  # torchmetrics requires a feature extractor, but its inputs here are features
_identity.num_features = 64


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Fréchet distance (Heusel et al. 2017, eq. 6) of features (N, 64) to (M, 64), both divided by the root mean
    square of the reference, since the scale of a classifier's features is arbitrary.
    """
    metric = FrechetInceptionDistance(_identity).set_dtype(torch.float64)
    return _distance(metric, features, reference).item()


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Kernel distance (Bińkowski et al. 2018, eq. 4) × 1000, features scaled as for the Fréchet distance.

    The mean over 50 pairs of random subsets of 1,000 features, or of all if there are fewer. The seed is fixed.
    """
    subset = min(1000, len(features), len(reference))
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore", UserWarning)  # it warns that it stores all features, which are small here
        metric = KernelInceptionDistance(_identity, subsets=50, subset_size=subset)
        torch.manual_seed(0)
        return 1000 * _distance(metric, features, reference)[0].item()


def _distance(metric: Metric, features: Tensor, reference: Tensor) -> Tensor:
    scale = reference.square().mean().sqrt()
    metric.to(features.device).update(reference / scale, real=True)
    metric.update(features / scale, real=False)
    return metric.compute()


def neighbour_scores(features: Tensor, reference: Tensor, k: int = NEIGHBOURS) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    They compare features (N, d) with a reference (M, d), using the k nearest neighbours. Two samples of the same
    distribution do not score exactly 1. Raises ValueError if a set has no more than k points.
    """
    if min(len(features), len(reference)) <= k:
        raise ValueError(f"both sets need more than k = {k} points, but have {len(features)} and {len(reference)}.")
    reference_radii = _radii(reference, k)
    radii = _radii(features, k)
    hits = features.new_zeros(len(features))  # in how many balls of the reference each point lies
    recalled, covered = [], []
    for part, radius in zip(reference.split(1000), reference_radii.split(1000), strict=True):
        distance = torch.cdist(part, features)
        hits += (distance < radius.unsqueeze(1)).sum(0)
        recalled.append((distance < radii).any(1))
        covered.append(distance.amin(1) < radius)
    return {
        "precision": (hits > 0).double().mean().item(),
        "recall": torch.cat(recalled).double().mean().item(),
        "coverage": torch.cat(covered).double().mean().item(),
        "density": hits.mean().item() / k,
    }


@functools.lru_cache(2)  # so that the radii of a reference are computed only once for many samples
def _radii(points: Tensor, k: int) -> Tensor:
    """The distance of each point to its k-th neighbour (kthvalue counts the point itself, at distance 0)."""
    return torch.cat([torch.cdist(part, points).kthvalue(k + 1).values for part in points.split(1000)])


def class_divergence(labels: Tensor, reference: Tensor) -> float:
    """KL divergence, in nats, of the class histogram of `labels` (N,) from that of `reference` (M,).

    It is ∞ where `labels` has a class that the reference lacks. For N draws from the reference its mean is about
    9 / (2N), as 2N KL is about χ² with nine degrees of freedom.
    """
    counts = torch.bincount(labels, minlength=10).cpu()
    reference_counts = torch.bincount(reference, minlength=10).cpu()
    return scipy.stats.entropy(counts, reference_counts).item()  # which divides by the sums
