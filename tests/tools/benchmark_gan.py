"""Our training loop against the plain one of PyTorch tutorials, images a second: `make benchmark`.

Both train the same fully connected networks, one critic step to one generator step, on one thread, in turns. The plain
loop is the usual one: a DataLoader with transforms, batches of 64, float32, the penalty by double differentiation.
"""

import os
import statistics
import tempfile
import time
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from helpers import data, gan
from helpers.compute import device, device_name
from helpers.networks import MLPCritic, build_generator

LATENT, IMAGES, ROUNDS, BATCHES = 100, 25_600, 3, (64, 128, 512, 1024)


class Digits(Dataset):
    """The training images one by one, transformed when asked for."""

    def __init__(self, count: int):
        self.images = ((data.mnist("train")[0][:count] + 1) * 127.5).round().to(torch.uint8).cpu()
        steps = [v2.ToPILImage(), v2.Resize(28), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        self.transform = v2.Compose([*steps, v2.Normalize([0.5], [0.5])])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])


def plain_seconds(loss: str, loader: DataLoader) -> float:
    """One epoch as in the most copied tutorials: gan.py draws its fakes once, wgan_gp.py twice and does not detach."""
    begin = time.perf_counter()
    G, D = build_generator("mlp-batchnorm", LATENT, 0, 0).to(device()), MLPCritic().to(device())
    adam_g, adam_d = (torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (G, D))
    bce = nn.BCEWithLogitsLoss()
    for x in loader:
        x = x.to(device())
        z = torch.randn(len(x), LATENT, device=device())
        fake = G(z)
        if loss == "gan":
            ones, zeros = torch.ones(len(x), device=device()), torch.zeros(len(x), device=device())
            step(adam_g, bce(D(fake), ones))
            step(adam_d, (bce(D(x), ones) + bce(D(fake.detach()), zeros)) / 2)
        else:
            share = torch.rand(len(x), 1, 1, 1, device=device())
            between = (share * x + (1 - share) * fake.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True, retain_graph=True)
            penalty = ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
            step(adam_d, D(fake).mean() - D(x).mean() + 10 * penalty)
            step(adam_g, -D(G(z)).mean())
    return time.perf_counter() - begin


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def our_seconds(loss: str, batch: int, images: int = IMAGES) -> float:
    """Seconds of the training loop for two epochs of half as many images, as its record states them."""
    sizes = {"generator": "mlp-batchnorm", "latent_dim": LATENT, "batch_size": batch, "epochs": 2}
    config = replace(gan.CONFIGS[loss], **sizes, images=images // 2, num_eval_samples=0, keep=())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MODELS"] = folder
        return gan.train(config, "timed").record["seconds"]


def main() -> None:
    torch.set_num_threads(1)
    loader = DataLoader(Digits(IMAGES), batch_size=64, shuffle=True)
    print(f"{device_name()}. Images a second, median of {ROUNDS} rounds; × the plain loop's.")
    for loss in ("gan", "wgan-gp"):
        our_seconds(loss, 64, 1280)  # warm
        plain, ours = [], {batch: [] for batch in BATCHES}
        for _ in range(ROUNDS):
            plain.append(IMAGES / plain_seconds(loss, loader))
            for batch, rates in ours.items():
                rates.append(IMAGES / our_seconds(loss, batch))
        print(f"\n{loss}, the plain loop, batch 64: {statistics.median(plain):.0f}")
        for batch, rates in ours.items():
            ratio = statistics.median(a / b for a, b in zip(rates, plain, strict=True))
            print(f"{loss}, batch {batch}: {statistics.median(rates):.0f} ({ratio:.2f}×)", flush=True)


if __name__ == "__main__":
    main()
