"""β-VAEs on MNIST with Gaussian or echo noise, trained side by side, one for each β of a sweep.

The loss is distortion + β · rate. Rates are in nats. The distortion −log p(x|z) of an image is its squared error summed
over pixels in [0, 1] or, for images of zeros and ones, the Bernoulli negative log likelihood in nats.
"""

import functools
import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from helpers import data, store
from helpers.compute import device, require_count, require_nonnegative
from helpers.echo import echo_depth, echo_rate, echo_sample


@dataclass(frozen=True)
class EchoConfig:
    """The encoder's outputs a, b give m = bound · tanh(a / stretch) and s = clip · sigmoid(b) of z = m + s·z₁."""

    clip: float = 0.8359  # that of Brekelmans et al. 2019: 100 terms in float32
    bound: float = 16.0
    stretch: float = 16.0
    start: float = 0.1  # s before training: a little noise that grows learns more than much that shrinks


@dataclass(frozen=True)
class SweepConfig:
    """All that determines a sweep. Raises ValueError for numbers out of their range."""

    betas: tuple[float, ...]
    echo: EchoConfig | None = None  # None: Gaussian noise
    binary: bool = False  # images of zeros and ones
    layers: int = 1  # hidden ones, each way
    width: int = 128
    latent_dim: int = 16
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 2e-3  # falls linearly to 0
    warm_up: float = 0.3  # share of training over which β rises from 0: else VAEs near collapse never leave it
    images: int = 60_000
    seed: int = 0
    keep: bool = True  # whether the store keeps the networks, or their scores alone

    def __post_init__(self):
        for name in ("layers", "width", "latent_dim", "epochs", "batch_size", "images"):
            require_count(**{name: getattr(self, name)})
        require_count(0, seed=self.seed)
        require_nonnegative(learning_rate=self.learning_rate, warm_up=self.warm_up)
        require_nonnegative(**{f"betas[{k}]": beta for k, beta in enumerate(self.betas)})
        if not self.betas or self.batch_size > self.images:
            raise ValueError(f"betas must not be empty and batch_size must not exceed images: {self}.")


BETAS = (1e-4, 3.16e-4, 1e-3, 3.16e-3, 0.01, 0.0316, 0.1, 0.316, 1.0, 3.16, 10.0, 31.6, 100.0)
DEEP = SweepConfig(
    (0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0), binary=True,
    layers=2, width=512, latent_dim=32, epochs=30, learning_rate=1e-3, keep=False,
)  # fmt: skip
RECIPES = {
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
    draw = torch.rand(x.shape, generator=Generator().manual_seed(0))  # on the CPU: the same on every device
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
    hidden = [part for pair in zip(sizes, sizes[1:-1], strict=False) for part in (Dense(members, *pair), nn.ReLU())]
    return nn.Sequential(*hidden, Dense(members, *sizes[-2:], gain=1.0))


class BetaVAE(nn.Module):
    """K VAEs 784-width-…-latent-…-width-784, one for each β in the config."""

    def __init__(self, config: SweepConfig):
        super().__init__()
        self.config, members, hidden = config, len(config.betas), [config.width] * config.layers
        self.encoder = mlp(members, 784, *hidden, 2 * config.latent_dim)
        self.decoder = mlp(members, config.latent_dim, *hidden, 784)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z|x), each (K, B, latent), of images (B, 784) in [0, 1]."""
        return self.encoder(2 * x - 1).chunk(2, -1)

    def sample(self, mean: Tensor, log_std: Tensor, rng: Generator | None = None) -> Tensor:
        """A latent code z = mean + std · ε for each image, with ε ~ N(0, I)."""
        return mean + log_std.exp() * torch.randn(mean.shape, generator=rng, device=mean.device, dtype=mean.dtype)

    def rate(self, mean: Tensor, log_std: Tensor) -> Tensor:
        """KL[N(mean, std²) ‖ N(0, I)] in nats: (…, latent) to (…)."""
        return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (K, B, latent) to images (K, B, 784) in [0, 1]."""
        return self.decoder(z).sigmoid()

    def forward(self, x: Tensor, rng: Generator | None = None) -> tuple[Tensor, Tensor]:
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
        (a, b), echo = super().encode(x), self.config.echo
        return echo.bound * (a / echo.stretch).tanh(), echo.clip * b.sigmoid()

    def sample(self, m: Tensor, s: Tensor, rng: Generator | None = None) -> Tensor:
        """z = m + s·z₁ with echoes from the batch, in one order for all K VAEs."""
        (members, batch, latent), echo = m.shape, self.config.echo
        m, s = (part.transpose(0, 1).reshape(batch, -1) for part in (m, s))
        z = echo_sample(m, s, min(echo_depth(echo.bound, echo.clip, m.dtype), batch), rng)
        return z.view(batch, members, latent).transpose(0, 1)

    def rate(self, m: Tensor, s: Tensor) -> Tensor:
        """−log|det S(x)| of each image, in nats: (K, B)."""
        return echo_rate(s.flatten(0, 1)).view(s.shape[:2])


def train(config: SweepConfig, name: str) -> store.Trained:
    """The sweep from the store, or trained now: "scores" and, if kept, "autoencoders".

    The scores are each VAE's mean rate and distortion on the test set, and its train_rate: (K,), float64.
    """
    x = pixels("train", config.binary)[: config.images]
    betas, steps = torch.tensor(config.betas, device=x.device).unsqueeze(1), len(x) // config.batch_size
    with store.training(name, asdict(config), lambda: _initial_state(config, x)) as run:
        model, adam, rng = run.state.networks()["autoencoders"], run.state.optimizers["adam"], run.state.rng
        for epoch in run.epochs():
            batches, losses = torch.randperm(len(x), generator=rng, device=x.device).split(config.batch_size), []
            for step, batch in enumerate(batches[:steps]):
                progress = (epoch + step / steps) / config.epochs
                adam.param_groups[0]["lr"] = config.learning_rate * (1 - progress)
                warmth = min(1.0, progress / config.warm_up) if config.warm_up else 1.0
                losses.append(train_step(model, x[batch], betas * warmth, adam, rng) / len(betas))
            run.log({"loss": sum(losses) / steps})
        if run.trained is None:
            scores, test = run.state.modules["scores"], pixels("test", config.binary)
            scores.train_rate[:] = evaluate(model, x, config.seed)[0]
            scores.rate[:], scores.distortion[:] = evaluate(model, test, config.seed)
    return run.trained


def train_step(model: BetaVAE, x: Tensor, betas: Tensor, adam: torch.optim.Optimizer, rng: Generator) -> float:
    """One optimiser step on distortion + β · rate, averaged over images x (B, 784), summed over betas (K, 1)."""
    rate, distortion = model(x, rng)
    loss = (distortion + betas * rate).mean(1).sum()
    adam.zero_grad()
    loss.backward()
    adam.step()
    return loss.item()


def _initial_state(config: SweepConfig, x: Tensor) -> store.State:
    """Networks, scores and optimiser before training on images x (N, 784)."""
    model, scores = EchoVAE(config) if config.echo else BetaVAE(config), nn.Module()
    model.decoder[-1].bias.data[:] = x.mean(0).clamp(1e-3, 1 - 1e-3).logit().cpu()  # the best output at rate 0
    adam = torch.optim.Adam(model.to(device()).parameters(), config.learning_rate, fused=True)
    for key in ("rate", "distortion", "train_rate"):
        scores.register_buffer(key, torch.zeros(len(config.betas), dtype=torch.float64, device=device()))
    kept, scratch = {"scores": scores}, {"autoencoders": model}
    kept, scratch = (kept | scratch, {}) if config.keep else (kept, scratch)
    return store.State(kept, scratch, {"adam": adam}, Generator(device()).manual_seed(config.seed))


@torch.no_grad()
def evaluate(model: BetaVAE, x: Tensor, seed: int = 0, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean rate and mean distortion of each VAE, each (K,) in float64, over images x (N, 784), one code per image."""
    rng = Generator(x.device).manual_seed(seed)
    parts = [torch.stack(model(rows, rng)).double().sum(-1) for rows in x.split(batch)]
    return tuple(sum(parts) / len(x))


@torch.no_grad()
def codes(model: BetaVAE, x: Tensor, member: int, batch: int = 5000) -> tuple[Tensor, Tensor]:
    """The outputs of one VAE's encoder for images (N, 784): two of (N, latent), in float64."""
    parts = [torch.stack(model.encode(rows))[:, member].double() for rows in x.split(batch)]
    return tuple(torch.cat(parts, 1))
