"""β-VAEs on MNIST: the exact theory of the linear one, and many rates of a nonlinear one trained at once.

Distortion is the squared error summed over pixels in [0, 1]; rates are in nats. The loss is distortion + β · rate.
"""

import math

import torch
from torch import Tensor, nn

from helpers import data, store
from helpers.device import device
from helpers.echo import echo_depth, echo_sample

CLIP = 0.8359  # of the echo's |s|: that of Brekelmans et al. 2019, 100 terms in float32
WARM_UP = 0.3  # share of the training over which β rises from 0: else members near collapse never leave it
RECIPES: dict[str, dict] = {
    "vae-sweep": {"betas": [float(f"{10 ** (k / 2):.3g}") for k in range(-8, 5)], "noise": "gaussian"},
    "echo-sweep": {"betas": [float(f"{10 ** (k / 2):.3g}") for k in range(-5, 3)], "noise": "echo"},
}


def pixels(split: str) -> Tensor:
    """All images of a split as rows (N, 784) in [0, 1]."""
    return (data.mnist(split)[0].flatten(1) + 1) / 2


def gaussian_rate(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL[N(mean, std²) ‖ N(0, I)] in nats: (…, d) to (…)."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)


# The linear β-VAE


def water_filling(spectrum: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Shannon's rate Σ ½ log⁺(λ/c) and distortion Σ min(λ, c) at the water level c, from the eigenvalues λ (n,).

    With one latent number for each λ, the linear β-VAE of loss ‖x − x̂‖² + β KL has c = β/2.
    """
    return 0.5 * (spectrum / level).clamp(min=1).log().sum(), spectrum.clamp(max=level).sum()


def linear_terms(encoder: Tensor, log_var: Tensor, decoder: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Exact rate and distortion of z|x ~ N(V(x − μ), diag e^ℓ), x̂ = Wz + μ for data of a covariance Σ (n, n).

    encoder V: (d, n), log_var ℓ: (d,), decoder W: (n, d). No sampling: both are averages over noise and data.
    """
    cross = covariance @ encoder.T
    code = encoder @ cross
    noise = log_var.exp()
    rate = 0.5 * (code.diagonal().sum() + (noise - log_var - 1).sum())
    distortion = covariance.diagonal().sum() - 2 * (decoder * cross).sum()
    return rate, distortion + (decoder.T @ decoder * (code + noise.diag())).sum()


def fit_linear(covariance: Tensor, beta: float, latents: int, iterations: int = 500, seed: int = 0) -> tuple:
    """Minimise the linear β-VAE's exact loss over all its parameters by L-BFGS from a random start.

    covariance: (n, n), float64. Returns (rate, distortion) as floats, and the parameters (V, ℓ, W).
    """
    rng = torch.Generator(covariance.device).manual_seed(seed)
    shape = {"generator": rng, "dtype": covariance.dtype, "device": covariance.device}
    size = len(covariance) ** -0.5
    V = (torch.randn(latents, len(covariance), **shape) * size).requires_grad_()
    W = (torch.randn(len(covariance), latents, **shape) * size).requires_grad_()
    log_var = covariance.new_zeros(latents).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [V, log_var, W], max_iter=iterations, history_size=30, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        rate, distortion = linear_terms(V, log_var, W, covariance)
        loss = distortion + beta * rate
        loss.backward()
        return loss

    optimizer.step(closure)
    parameters = (V.detach(), log_var.detach(), W.detach())
    rate, distortion = linear_terms(*parameters, covariance)
    return rate.item(), distortion.item(), parameters


# The nonlinear one, K members at once


class Dense(nn.Module):
    """K linear layers at once: (K, B, in), or one (B, in) that all share, to (K, B, out). All K start alike."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 2.0):
        super().__init__()
        weight = torch.randn(inputs, outputs) * math.sqrt(gain / inputs)  # He et al. 2015 for a ReLU before it
        self.weight = nn.Parameter(weight.repeat(members, 1, 1))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


class Autoencoders(nn.Module):
    """K autoencoders 784-width-latent-width-784 of one shape, `noise` "gaussian" or "echo" in their codes.

    They differ by their β alone. Both kinds have the same layers; the encoder's two heads mean
    mean and log std (Gaussian), or m and s of z = m + s·z₁ with |m| < 1 and 0 < s < CLIP (echo).
    """

    def __init__(self, members: int, latent: int, width: int, noise: str):
        super().__init__()
        self.noise, self.latent = noise, latent
        self.encoder = nn.Sequential(Dense(members, 784, width), nn.ReLU(), Dense(members, width, 2 * latent, 1.0))
        self.decoder = nn.Sequential(Dense(members, latent, width), nn.ReLU(), Dense(members, width, 784, 1.0))
        if noise == "echo":  # s starts at 0.1, not 0.4: a little noise that grows learns more than much that shrinks
            self.encoder[-1].bias.data[..., latent:] = -2.0

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 784) in [0, 1] to (mean, log std) or (m, s), each (K, B, latent)."""
        first, second = self.encoder(2 * x - 1).chunk(2, -1)
        return (first.tanh(), CLIP * second.sigmoid()) if self.noise == "echo" else (first, second)

    def sample(self, first: Tensor, second: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A code z for each image: (K, B, latent). Echoes are those of the batch, in one order for all members."""
        if self.noise == "gaussian":
            draw = torch.randn(first.shape, generator=generator, device=first.device, dtype=first.dtype)
            return first + second.exp() * draw
        members, batch, latent = first.shape
        wide = [tensor.transpose(0, 1).reshape(batch, -1) for tensor in (first, second)]
        depth = min(echo_depth(1.0, CLIP, first.dtype), batch)
        return echo_sample(*wide, depth, generator).view(batch, members, latent).transpose(0, 1)

    def rate(self, first: Tensor, second: Tensor) -> Tensor:
        """KL to the prior (Gaussian) or −log|det S(x)| (echo) of each image: (K, B)."""
        return gaussian_rate(first, second) if self.noise == "gaussian" else -second.log().sum(-1)

    def decode(self, z: Tensor) -> Tensor:
        """Codes (K, B, latent) to images (K, B, 784) in [0, 1]."""
        return self.decoder(z).sigmoid()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Rate and distortion of each image for each member: (K, B) both."""
        first, second = self.encode(x)
        images = self.decode(self.sample(first, second, generator))
        return self.rate(first, second), (images - x).square().sum(-1)


def train(
    name: str,
    betas: list[float],
    noise: str = "gaussian",
    epochs: int = 20,
    latent: int = 16,
    width: int = 128,
    batch: int = 256,
    learning_rate: float = 2e-3,
    images: int = 60_000,
    seed: int = 0,
) -> store.Trained:
    """A sweep over β from the store, or trained now as one ensemble: module "autoencoders", a member for each β.

    The loss is the sum over members of mean(distortion + β · rate), β rising linearly from 0 over the first WARM_UP
    of the training; Adam's learning rate falls linearly to 0.
    Raises ValueError for another noise, no or a negative β, or a batch larger than the set.
    """
    if noise not in ("gaussian", "echo"):
        raise ValueError(f"noise must be 'gaussian' or 'echo', not {noise!r}.")
    if not betas or min(betas) < 0:
        raise ValueError(f"betas must be one or more numbers of at least 0, not {betas}.")
    if batch > images:
        raise ValueError(f"batch ({batch}) must not exceed images ({images}).")
    config = {
        "betas": list(betas), "noise": noise, "epochs": epochs, "latent": latent, "width": width, "batch": batch,
        "learning_rate": learning_rate, "images": images, "seed": seed,
        "warm_up": WARM_UP,
    }  # fmt: skip
    if noise == "echo":
        config["clip"] = CLIP
    x = pixels("train")[:images]

    def start() -> store.Training:
        model = Autoencoders(len(betas), latent, width, noise)
        model.decoder[-1].bias.data[:] = x.mean(0).clamp(1e-3, 1 - 1e-3).logit().cpu()  # the best answer at rate 0
        model.to(device())
        optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)
        return store.Training(
            {"autoencoders": model}, {}, {"adam": optimizer}, torch.Generator(device()).manual_seed(seed)
        )

    return store.load_or_train(name, config, start, lambda training, epoch: _epoch(training, epoch, config, x))


def _epoch(training: store.Training, epoch: int, config: dict, x: Tensor) -> dict[str, float]:
    model, optimizer = training.modules["autoencoders"], training.optimizers["adam"]
    betas = torch.tensor(config["betas"], device=x.device).unsqueeze(1)
    batches = torch.randperm(len(x), generator=training.generator, device=x.device).split(config["batch"])
    batches = [batch for batch in batches if len(batch) == config["batch"]]
    total = 0.0
    for step, batch in enumerate(batches):
        progress = (epoch + step / len(batches)) / config["epochs"]
        optimizer.param_groups[0]["lr"] = config["learning_rate"] * (1 - progress)
        rate, distortion = model(x[batch], training.generator)
        loss = (distortion + betas * min(1.0, progress / config["warm_up"]) * rate).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / len(betas)
    return {"loss": total / len(batches)}


@torch.no_grad()
def evaluate(model: Autoencoders, x: Tensor, seed: int = 0, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Mean rate and mean distortion of each member over images x (N, 784), one code each: (K,) both, float64."""
    rng = torch.Generator(x.device).manual_seed(seed)
    parts = [torch.stack(model(rows, rng)).double().sum(-1) for rows in x.split(batch)]
    return tuple(sum(parts) / len(x))


@torch.no_grad()
def codes(model: Autoencoders, x: Tensor, member: int, batch: int = 5000) -> tuple[Tensor, Tensor]:
    """The two heads of one member for images (N, 784): (N, latent) both, float64."""
    parts = [torch.stack(model.encode(rows))[:, member].double() for rows in x.split(batch)]
    return tuple(torch.cat(parts, 1))
