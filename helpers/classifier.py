"""The frozen judge of all scores: a small classifier, trained on real images before any GAN."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import data, store
from helpers.compute import device, require_count


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


def train(epochs: int = 8, seed: int = 0, images: int = 60_000, channels: int = 16) -> store.Trained:
    """The frozen judge: module "classifier", trained on real images only, each shifted by up to two pixels."""
    require_count(epochs=epochs, images=images, channels=channels)
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
