"""Honest scores for MNIST generators in a frozen classifier's features: distances, coverage, class balance."""

import functools
import warnings

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from helpers import data
from helpers.classifier import Classifier, in_batches
from helpers.compute import device

NAMES = {  # of the scores, as tables print them
    "frechet": "Fréchet",
    "kernel": "kernel × 1000",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "class_kl": "class KL",
}
LOWER_IS_BETTER = ("frechet", "kernel", "class_kl")


def sample(generator: nn.Module, count: int, seed: int = 0) -> Tensor:
    """`count` images (count, 1, 28, 28) of codes z ~ N(0, I), the same for every generator of that latent size."""
    rng = torch.Generator(device()).manual_seed(seed)
    return in_batches(generator, torch.randn(count, generator.latent_dim, generator=rng, device=device()))


class _Given(nn.Module):
    """Lets torchmetrics take features that were computed once."""

    num_features = 64

    def forward(self, features: Tensor) -> Tensor:
        return features


def frechet_distance(features: Tensor, reference: Tensor) -> float:
    """Fréchet distance (Heusel et al. 2017, eq. 6) of features (N, 64) to (M, 64), both divided by the reference's
    root mean square: the scale of a classifier's features is an accident.
    """
    scale = reference.square().mean().sqrt()
    metric = FrechetInceptionDistance(feature=_Given(), input_img_size=(64,)).set_dtype(torch.float64).to(device())
    metric.update(reference / scale, real=True)
    metric.update(features / scale, real=False)
    return metric.compute().item()


def frechet(images: Tensor, judge: Classifier) -> float:
    """`frechet_distance` of images (N, 1, 28, 28) to the 10 000 test images."""
    return frechet_distance(in_batches(judge.features, images), reference_features(judge))


@functools.cache
def reference_features(judge: Classifier) -> Tensor:
    """The frozen classifier's features of the 10 000 test images, (10 000, 64)."""
    return in_batches(judge.features, data.mnist("test")[0])


def kernel_distance(features: Tensor, reference: Tensor) -> float:
    """Kernel distance (Bińkowski et al. 2018, eq. 4) × 1000, features scaled as for the Fréchet distance.

    The mean over 50 pairs of random subsets of 1000 (fewer if there are fewer), always the same ones.
    """
    scale, subset = reference.square().mean().sqrt(), min(1000, len(features), len(reference))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that it keeps all features: they are small here
        metric = KernelInceptionDistance(feature=_Given(), subset_size=subset, subsets=50).to(device())
    metric.update(reference / scale, real=True)
    metric.update(features / scale, real=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return 1000 * metric.compute()[0].item()


def neighbour_scores(features: Tensor, reference: Tensor, k: int = 5) -> dict[str, float]:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020), k neighbours.

    features (N, d) against reference (M, d). Two samples of one law do not score 1: print what real images reach.
    Raises ValueError if a set has no k neighbours to offer.
    """
    if min(len(features), len(reference)) <= k:
        raise ValueError(f"both sets need more than k = {k} points, but have {len(features)} and {len(reference)}.")
    ball, own = _radii(reference, k), _radii(features, k)
    hits, found, near = torch.zeros(len(features), device=device()), [], []
    for part, radius in zip(reference.split(1000), ball.split(1000), strict=True):
        distance = torch.cdist(part, features)
        hits += (distance < radius.unsqueeze(1)).sum(0)
        found.append((distance < own).any(1))
        near.append(distance.amin(1) < radius)
    shares = {"precision": hits > 0, "recall": torch.cat(found), "coverage": torch.cat(near)}
    return {key: share.double().mean().item() for key, share in shares.items()} | {"density": hits.mean().item() / k}


def _radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point to its k-th neighbour; the nearest point is itself."""
    return torch.cat([torch.cdist(part, points).kthvalue(k + 1).values for part in points.split(1000)])


def class_divergence(labels: Tensor, reference: Tensor) -> float:
    """KL of the class histogram of `labels` (N,) from that of `reference` (M,), in nats.

    For N draws from the reference itself its mean is about 9 / (2N) (half a χ² of nine degrees of freedom, over N).
    """
    share = torch.bincount(labels, minlength=10).double() / len(labels)
    target = torch.bincount(reference, minlength=10).double() / len(reference)
    return torch.special.xlogy(share, share / target).sum().item()


def scores(images: Tensor, judge: Classifier) -> dict[str, float]:
    """All scores of images (N, 1, 28, 28) against the 10 000 test images.

    Keys: those of NAMES (class_kl in nats) and confidence (mean of the largest class probability).
    """
    features, reference = in_batches(judge.features, images), reference_features(judge)
    logits = in_batches(judge.head, features)
    return {
        "frechet": frechet_distance(features, reference),
        "kernel": kernel_distance(features, reference),
        **neighbour_scores(features, reference),
        "class_kl": class_divergence(logits.argmax(1), data.mnist("test")[1]),
        "confidence": logits.softmax(1).amax(1).mean().item(),
    }
