"""β-VAEs on MNIST with Gaussian or echo noise, trained side by side, one for each β of a sweep; plain autoencoders.

The loss is distortion + β · rate. Rates are in nats. The distortion −log p(x|z) of an image is its squared error summed
over pixels in [0, 1] or, for images of zeros and ones, the Bernoulli negative log likelihood in nats.
"""

import functools
import math
from dataclasses import replace
from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from helpers import data, store
from helpers.compute import device
from helpers.config import AsTuple, Count, CountOrZero, Nonnegative, Positive, configuration, or_dictionary
from helpers.echo import compose, echo_cycle, echo_depth, echo_rate, echo_sample


@configuration
class EchoConfig:
    """The encoder's outputs a, b give m = bound · tanh(a / stretch) and s = clip · sigmoid(b) of z = m + s·z₁.

    Raises ValueError for numbers out of their range.
    """

    clip: Annotated[float, Field(gt=0, lt=1)] = 0.8359  # that of Brekelmans et al. 2019: 100 terms in float32
    bound: Positive = 16.0
    stretch: Positive = 16.0
    start: Positive = 0.1  # s before training: a little noise that grows learns more than much that shrinks

    def __post_init__(self):
        if self.start >= self.clip:
            raise ValueError(f"start ({self.start}) must be less than clip ({self.clip}), the bound on s.")


@configuration
class SweepConfig:
    """All that determines a sweep. Raises ValueError for numbers out of their range."""

    betas: Annotated[tuple[Nonnegative, ...], AsTuple, Field(min_length=1)]
    echo: Annotated[EchoConfig | None, or_dictionary(EchoConfig)] = None  # None: Gaussian noise
    noise: bool = True  # False: a plain autoencoder, whose code is the encoder's mean and whose β is 0
    binary: bool = False  # images of zeros and ones
    layers: Count = 1  # hidden ones, each way
    width: Count = 128
    latent_dim: Count = 16
    epochs: Count = 20
    batch_size: Count = 256
    learning_rate: Nonnegative = 2e-3  # falls linearly to 0
    warm_up: Nonnegative = 0.3  # share of training over which β rises from 0: else VAEs near collapse never leave it
    images: Annotated[int, Field(ge=1, le=60_000)] = 60_000
    seed: CountOrZero = 0
    keep: bool = True  # whether the store keeps the networks, or their scores alone

    def __post_init__(self):
        if self.batch_size > self.images:
            raise ValueError(f"batch_size ({self.batch_size}) must not exceed images ({self.images}).")
        if not self.noise and (any(self.betas) or self.echo):
            raise ValueError("betas must be 0, and echo None, where there is no noise.")


BETAS = (1e-4, 3.16e-4, 1e-3, 3.16e-3, 0.01, 0.0316, 0.1, 0.316, 1.0, 3.16, 10.0, 31.6, 100.0)
DEEP = SweepConfig(
    (0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0),
    binary=True,
    layers=2,
    width=512,
    latent_dim=32,
    epochs=30,
    learning_rate=1e-3,
    keep=False,
)
CONFIGS = {
    "vae-sweep": SweepConfig(BETAS),
    "echo-sweep": SweepConfig(BETAS[3:-2], EchoConfig()),
    "vae-binary": DEEP,
    "echo-binary": replace(DEEP, echo=EchoConfig()),
}


@functools.cache
def pixels(split: str, binary: bool = False) -> Tensor:
    """All images of a split, rows (N, 784) in [0, 1] shared by all; if `binary`, each pixel drawn once as 0 or 1."""
    x = (data.mnist(split)[0].flatten(1) + 1) / 2
    if not binary:
        return x
    draw = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))  # on the CPU: the same on every device
    return (draw.to(x.device) < x).float()


class Dense(nn.Module):
    """K linear layers side by side: (K, B, in), or one (B, in) shared by all, to (K, B, out). All K start alike."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 2.0):
        super().__init__()
        weight = torch.randn(inputs, outputs) * math.sqrt(gain / inputs)  # He et al. 2015, for a ReLU before it
        self.weight = nn.Parameter(weight.repeat(members, 1, 1))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


def mlp(members: int, *sizes: int) -> nn.Sequential:
    """K networks of layers of these sizes, with ReLU between them."""
    layers = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [Dense(members, inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, Dense(members, *sizes[-2:], gain=1.0))


class BetaVAE(nn.Module):
    """K VAEs 784-width-…-latent-…-width-784, one for each β in the config."""

    def __init__(self, config: SweepConfig):
        super().__init__()
        self.config = config
        members = len(config.betas)
        hidden = [config.width] * config.layers
        self.encoder = mlp(members, 784, *hidden, 2 * config.latent_dim)
        self.decoder = mlp(members, config.latent_dim, *hidden, 784)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z|x), each (K, B, latent), of images (B, 784) in [0, 1]."""
        return self.encoder(2 * x - 1).chunk(2, -1)

    def sample(self, mean: Tensor, log_std: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """A latent code z = mean + std · ε for each image, with ε ~ N(0, I)."""
        return mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)

    def rate(self, mean: Tensor, log_std: Tensor) -> Tensor:
        """KL[N(mean, std²) ‖ N(0, I)] in nats: (…, latent) to (…)."""
        return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (K, B, latent) to images (K, B, 784) in [0, 1]."""
        return self.decoder(z).sigmoid()

    def forward(self, x: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Rate and distortion, each (K, B), of images (B, 784), from one sampled code per image."""
        q = self.encode(x)
        logits = self.decoder(self.sample(*q, rng))
        if self.config.binary:
            error = binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        else:
            error = (logits.sigmoid() - x).square()
        return self.rate(*q), error.sum(-1)


class EchoVAE(BetaVAE):
    """The same with echo noise: the encoder gives m(x) and s(x) in place of mean and log std, as `EchoConfig` says."""

    def __init__(self, config: SweepConfig):
        super().__init__(config)
        share = config.echo.start / config.echo.clip
        self.encoder[-1].bias.data[..., config.latent_dim :] = math.log(share / (1 - share))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = super().encode(x)
        echo = self.config.echo
        return echo.bound * (a / echo.stretch).tanh(), echo.clip * b.sigmoid()

    def sample(self, m: Tensor, s: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """z = m + s·z₁ with echoes from the batch, in one order for all K VAEs."""
        members, batch, latent = m.shape
        echo = self.config.echo
        depth = min(echo_depth(echo.bound, echo.clip, m.dtype), batch)
        m, s = (part.transpose(0, 1).reshape(batch, -1) for part in (m, s))
        z = echo_sample(m, s, depth, rng)
        return z.view(batch, members, latent).transpose(0, 1)

    def rate(self, m: Tensor, s: Tensor) -> Tensor:
        """−log|det S(x)| of each image, in nats: (K, B)."""
        return echo_rate(s.flatten(0, 1)).view(s.shape[:2])


class Autoencoder(BetaVAE):
    """The same without noise and prior term: z is the encoder's mean. The encoder's other outputs are not used."""

    def sample(self, mean: Tensor, log_std: Tensor, rng: torch.Generator | None = None) -> Tensor:
        return mean

    def rate(self, mean: Tensor, log_std: Tensor) -> Tensor:
        """0: the loss has no prior term."""
        return mean.new_zeros(mean.shape[:-1])


class Sweep:
    """The VAEs of a sweep with their optimiser, random numbers and scores, as the store needs them."""

    def __init__(self, config: SweepConfig, x: Tensor):
        self.config = config
        if config.noise:
            self.autoencoders = EchoVAE(config) if config.echo else BetaVAE(config)
        else:
            self.autoencoders = Autoencoder(config)
        output = x.mean(0).clamp(1e-3, 1 - 1e-3).logit()  # the best output at rate 0
        self.autoencoders.decoder[-1].bias.data[:] = output.cpu()
        self.adam = torch.optim.Adam(self.autoencoders.to(device()).parameters(), config.learning_rate, fused=True)
        self.scores = nn.Module()
        for key in ("rate", "distortion", "train_rate"):
            empty = torch.zeros(len(config.betas), dtype=torch.float64, device=device())
            self.scores.register_buffer(key, empty)
        self.rng = torch.Generator(device()).manual_seed(config.seed)
        self.kept = {"scores": self.scores}
        if config.keep:
            self.kept["autoencoders"] = self.autoencoders
        self.code = [type(self.autoencoders), BetaVAE, Dense, mlp, sweep_step]
        if config.echo:
            self.code += [echo_sample, echo_cycle, compose, echo_rate, echo_depth]
        self.data = data.fingerprint("train")


def train_sweep(config: SweepConfig, name: str = "own-sweep") -> store.Trained:
    """The sweep from the store, or trained now: "scores" and, if kept, "autoencoders".

    The scores are each VAE's mean rate and distortion on the test set, and its train_rate: (K,), float64.
    """
    x = pixels("train", config.binary)[: config.images]
    betas = torch.tensor(config.betas, device=x.device).unsqueeze(1)
    with store.training(name, config, lambda: Sweep(config, x)) as run:
        sweep = run.model
        for epoch in run.epochs():
            batches = torch.randperm(len(x), generator=sweep.rng, device=x.device).split(config.batch_size)
            steps = len(x) // config.batch_size
            losses = []
            for step, batch in enumerate(batches[:steps]):
                progress = (epoch + step / steps) / config.epochs
                sweep.adam.param_groups[0]["lr"] = config.learning_rate * (1 - progress)
                warmth = min(1.0, progress / config.warm_up) if config.warm_up else 1.0
                loss = sweep_step(sweep.autoencoders, x[batch], betas * warmth, sweep.adam, sweep.rng)
                losses.append(loss / len(betas))
            run.log({"loss": sum(losses) / steps})
        if run.trained is None:
            score(sweep, config, x)
    return run.trained


def score(sweep: Sweep, config: SweepConfig, x: Tensor) -> None:
    """Fill in the scores of a trained sweep, from its training images x and the test images."""
    train_rate, _ = evaluate(sweep.autoencoders, x, config.seed)
    rate, distortion = evaluate(sweep.autoencoders, pixels("test", config.binary), config.seed)
    sweep.scores.train_rate[:] = train_rate
    sweep.scores.rate[:] = rate
    sweep.scores.distortion[:] = distortion


def sweep_step(model: BetaVAE, x: Tensor, betas: Tensor, adam: torch.optim.Optimizer, rng: torch.Generator) -> float:
    """One optimiser step on distortion + β · rate, averaged over images x (B, 784), summed over betas (K, 1)."""
    rate, distortion = model(x, rng)
    loss = (distortion + betas * rate).mean(1).sum()
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss.item()


@torch.no_grad()
def evaluate(model: BetaVAE, x: Tensor, seed: int = 0, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean rate and mean distortion of each VAE, each (K,) in float64, over images x (N, 784), one code per image."""
    rng = torch.Generator(x.device).manual_seed(seed)
    parts = [torch.stack(model(rows, rng)).double().sum(-1) for rows in x.split(batch)]
    return tuple(sum(parts) / len(x))


@torch.no_grad()
def codes(model: BetaVAE, x: Tensor, member: int, batch: int = 5000) -> tuple[Tensor, Tensor]:
    """The outputs of one VAE's encoder for images (N, 784): two of (N, latent), in float64."""
    parts = [torch.stack(model.encode(rows))[:, member].double() for rows in x.split(batch)]
    return tuple(torch.cat(parts, 1))
