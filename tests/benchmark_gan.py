"""Our training loop against the plain one of PyTorch tutorials, images a second: `make benchmark`.

Both train the same fully connected networks, one critic step to one generator step, on every core, in turns. The plain
loop is the usual one: a DataLoader with transforms, batches of 64, eager float32, Adam as it comes, the penalty by
double differentiation. Then the roofline: our arithmetic a second over that of a large matrix product in the same run.
"""

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import v2

from helpers import data, gan
from helpers.compute import device, device_name, has_bfloat16
from helpers.networks import Critic, build_generator

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


def plain_epoch(loss: str, loader: DataLoader) -> None:
    """One epoch as in the most copied tutorials: gan.py draws its fakes once, wgan_gp.py twice and does not detach."""
    G, D = build_generator("mlp-batchnorm", LATENT, 0, 0).to(device()), Critic().to(device())
    move_g, move_d = (torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (G, D))
    bce = nn.BCEWithLogitsLoss()
    for x in loader:
        x = x.to(device())
        z = torch.randn(len(x), LATENT, device=device())
        fake = G(z)
        if loss == "gan":
            ones, zeros = torch.ones(len(x), device=device()), torch.zeros(len(x), device=device())
            step(move_g, bce(D(fake), ones))
            step(move_d, (bce(D(x), ones) + bce(D(fake.detach()), zeros)) / 2)
        else:
            share = torch.rand(len(x), 1, 1, 1, device=device())
            between = (share * x + (1 - share) * fake.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(D(between).sum(), between, create_graph=True, retain_graph=True)
            penalty = ((slope.flatten(1).norm(2, dim=1) - 1) ** 2).mean()
            step(move_d, D(fake).mean() - D(x).mean() + 10 * penalty)
            step(move_g, -D(G(z)).mean())


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def our_seconds(loss: str, batch: int, images: int = IMAGES) -> float:
    """Seconds of the training loop for two epochs of half as many images, as its record states them."""
    sizes = {
        "generator": "mlp-batchnorm",
        "latent_dim": LATENT,
        "batch_size": batch,
        "epochs": 2,
        "images": images // 2,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MODELS"] = folder
        config = replace(gan.CONFIGS[loss], **sizes, num_eval_samples=0, keep=())
        return gan.train(config, "timed").record["seconds"]


def plain_seconds(loss: str, loader: DataLoader) -> float:
    begin = time.perf_counter()
    plain_epoch(loss, loader)
    return time.perf_counter() - begin


def product_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of a square matrix product, the best of several."""
    a, b = torch.randn(2, size, size, device=device()).to(dtype)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        (a @ b)[0, 0].item()
        times.append(time.perf_counter() - begin)
    return 2 * size**3 / min(times)


def flops_per_image(loss: str) -> float:
    with FlopCounterMode(display=False) as counter:
        our_seconds(loss, 64, 256)
    return counter.get_total_flops() / 256


def main() -> None:
    loader = DataLoader(Digits(IMAGES), batch_size=64, shuffle=True)
    print(
        f"{device_name()}; bfloat16 in hardware: {'yes' if has_bfloat16() else 'no'}. "
        f"Images a second, median of {ROUNDS} rounds; × the plain loop's; share of a product's rate."
    )
    for loss in ("gan", "wgan-gp"):
        our_seconds(loss, 64, 1280)  # warm
        rates: dict[str, list[float]] = {"plain, batch 64": []} | {f"ours, batch {batch}": [] for batch in BATCHES}
        peaks = []
        for _ in range(ROUNDS):
            rates["plain, batch 64"].append(IMAGES / plain_seconds(loss, loader))
            for batch in BATCHES:
                rates[f"ours, batch {batch}"].append(IMAGES / our_seconds(loss, batch))
            peaks.append(product_rate(torch.float32))
        flops, peak = flops_per_image(loss), statistics.median(peaks)
        print(
            f"\n{loss}: {flops / 1e6:.1f} MFLOP an image; a float32 product of 2048² reaches {peak / 1e9:.0f} GFLOP/s"
        )
        for name, found in rates.items():
            ratio = statistics.median(a / b for a, b in zip(found, rates["plain, batch 64"], strict=True))
            rate = statistics.median(found)
            print(f"  {name:18} {rate:8.0f} {ratio:6.2f}× {flops * rate / peak:6.0%}", flush=True)
    half = product_rate(torch.bfloat16, 1024, 2) / product_rate(torch.float32, 1024)
    print(f"\nA bfloat16 product runs at {half:.2f} of the rate of a float32 one.")


if __name__ == "__main__":
    sys.exit(main())
