"""Inverting 10 test digits from 64 starts each in one batch against Adam, one code after the other: `make benchmark`.

Prints the seconds for all 640 codes driven to convergence, the share of them that an independent polish cannot lower by
0.1 %, and the seconds a code takes to the loss that Adam ends at, one by one and in the batch.
"""

import time

import torch

from helpers import data, gan
from helpers.compute import device
from helpers.inversion import gradient_descent, invert, levenberg_marquardt, objective

DIGITS, RESTARTS, STEPS, ALONE = 10, 64, 2000, 3


def main() -> None:
    images = data.mnist("test")[0][:DIGITS]
    G = gan.load_generator("gan")
    print(f"{torch.get_num_threads()} threads, {device()}; {DIGITS} digits × {RESTARTS} starts, the GAN's generator\n")
    for dtype in (torch.float32, torch.float64):
        generator, x = G.to(dtype), images.to(dtype)
        begun = time.perf_counter()
        ends = invert(generator, x, RESTARTS, iterations=0, evaluations=1500)
        seconds = time.perf_counter() - begun
        sample = torch.randperm(DIGITS * RESTARTS)[:64].to(x.device)
        targets = x.flatten(1).repeat_interleave(RESTARTS, 0)[sample].double()
        z, loss = ends.z.flatten(0, 1)[sample].double(), ends.loss.flatten()[sample].double()
        gain = 1 - objective(G, targets, levenberg_marquardt(G.double(), targets, z, 15, gain=0)) / loss
        best, median = ends.loss.amin(1).mean().item(), ends.loss.median().item()
        print(f"{dtype}: {seconds:.0f} s; best loss {best:.3f} on average, median {median:.3f}; ", end="")
        print(f"{(gain < 1e-3).double().mean().item():.0%} of 64 drawn gain less than 0.1 % from 15 iterations of LM")

    generator = G.float()
    start = torch.randn(ALONE, generator.latent_dim).to(images)
    begun = time.perf_counter()
    codes = [
        gradient_descent(generator, x.flatten()[None], z[None], STEPS) for x, z in zip(images, start, strict=False)
    ]
    alone = (time.perf_counter() - begun) / ALONE
    reached = (generator(torch.cat(codes)) - images[:ALONE]).square().flatten(1).sum(1)
    for evaluations in (50, 100, 200, 400, 800):
        begun = time.perf_counter()
        ends = invert(generator, images, RESTARTS, iterations=0, evaluations=evaluations)
        each = (time.perf_counter() - begun) / (DIGITS * RESTARTS)
        if (ends.loss[:ALONE].median(1).values <= reached).all():
            break
    print(f"Adam, {STEPS} steps, one by one: {alone:.2f} s a code, losses {[round(v, 2) for v in reached.tolist()]}")
    medians = [round(value, 2) for value in ends.loss[:ALONE].median(1).values.tolist()]
    print(
        f"the batch, {evaluations} evaluations: {each:.4f} s a code, {alone / each:.0f}× less, median losses {medians}"
    )


if __name__ == "__main__":
    main()
