"""Honest scores for MNIST generators: a frozen classifier's features, Fréchet and kernel distance, class balance."""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from helpers import data, store
from helpers.device import device


class Classifier(nn.Module):
    """A small convolutional classifier: images (B, 1, 28, 28) to logits (B, 10), through 64 features (B, 64)."""

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


def classifier(epochs: int = 8, seed: int = 0, images: int = 60_000, channels: int = 16) -> store.Trained:
    """The frozen judge: module "classifier", trained on real images only, each shifted by up to two pixels."""
    config = {"epochs": epochs, "seed": seed, "images": images, "channels": channels, "learning_rate": 2e-3}

    def start() -> store.Training:
        network = Classifier(channels).to(device())
        optimizer = torch.optim.Adam(network.parameters(), config["learning_rate"])
        rng = torch.Generator(device()).manual_seed(seed)
        return store.Training({"classifier": network}, optimizers={"adam": optimizer}, generator=rng)

    def epoch(training: store.Training, number: int) -> dict[str, float]:
        x, y = (part[:images] for part in data.mnist("train"))
        network, optimizer, total = training.modules["classifier"], training.optimizers["adam"], 0.0
        optimizer.param_groups[0]["lr"] = config["learning_rate"] * (1 - number / epochs)
        batches = torch.randperm(len(x), generator=training.generator, device=device()).split(128)
        for batch in batches:
            shift = torch.randint(-2, 3, (2,), generator=training.generator, device=device()).tolist()
            loss = F.cross_entropy(network(x[batch].roll(shift, (2, 3))), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return {"loss": total / len(batches)}

    return store.load_or_train("classifier", config, start, epoch)


@torch.no_grad()
def in_batches(network: nn.Module, inputs: Tensor, size: int = 1000) -> Tensor:
    """network(inputs) without gradients, `size` rows at a time."""
    return torch.cat([network(part) for part in inputs.split(size)])


def sample(generator: nn.Module, count: int, seed: int = 0) -> Tensor:
    """`count` images (count, 1, 28, 28) of codes z ~ N(0, I), the same for every generator of that latent size."""
    rng = torch.Generator(device()).manual_seed(seed)
    return in_batches(generator, torch.randn(count, generator.latent_dim, generator=rng, device=device()))


class _Given(nn.Module):
    """Lets torchmetrics take features that were computed once."""

    num_features = 64

    def forward(self, features: Tensor) -> Tensor:
        return features


def distances(features: Tensor, reference: Tensor) -> dict[str, float]:
    """Fréchet distance (Heusel et al. 2017) and kernel distance (Bińkowski et al. 2018) of features (N, 64), (M, 64).

    Features are first divided by the reference's root mean square: their scale is an accident of the classifier.
    The kernel distance is the mean over 50 pairs of random subsets of 1000 (fewer if there are fewer), given × 1000.
    """
    scale = reference.square().mean().sqrt()
    features, reference = features / scale, reference / scale
    subset = min(1000, len(features), len(reference))
    frechet = FrechetInceptionDistance(feature=_Given(), input_img_size=(64,)).set_dtype(torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that it keeps all features: they are small here
        kernel = KernelInceptionDistance(feature=_Given(), subset_size=subset, subsets=50)
    for metric in (frechet.to(device()), kernel.to(device())):
        metric.update(reference, real=True)
        metric.update(features, real=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {"frechet": frechet.compute().item(), "kernel": 1000 * kernel.compute()[0].item()}


def class_divergence(labels: Tensor, reference: Tensor) -> float:
    """KL of the class histogram of `labels` (N,) from that of `reference` (M,), in nats.

    For N draws from the reference itself its mean is about 9 / (2N) (half a χ² of nine degrees of freedom, over N).
    """
    share = torch.bincount(labels, minlength=10).double() / len(labels)
    target = torch.bincount(reference, minlength=10).double() / len(reference)
    return torch.special.xlogy(share, share / target).sum().item()


def scores(images: Tensor, judge: Classifier) -> dict[str, float]:
    """All scores of images (N, 1, 28, 28) against the 10 000 test images.

    Keys: frechet, kernel (× 1000), class_kl (nats), confidence (mean of the largest class probability).
    """
    test, labels = data.mnist("test")
    features, reference = in_batches(judge.features, images), in_batches(judge.features, test)
    logits = in_batches(judge.head, features)
    return distances(features, reference) | {
        "class_kl": class_divergence(logits.argmax(1), labels),
        "confidence": logits.softmax(1).amax(1).mean().item(),
    }
