"""β-VAEs on MNIST, many β trained at once, with Gaussian or echo noise in their codes.

Rates are in nats. The distortion of an image is its squared error summed over pixels in [0, 1] or, for images of zeros
and ones, the Bernoulli negative log likelihood in nats. The loss is distortion + β · rate.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from helpers import data, store
from helpers.compute import device, require_count, require_nonnegative
from helpers.echo import echo_depth, echo_rate, echo_sample

WARM_UP = 0.3  # share of the training over which β rises from 0: else members near collapse never leave it
CLIP = 0.8359  # of the echo's |s|: that of Brekelmans et al. 2019, 100 terms in float32
ECHO = {"clip": CLIP, "bound": 16.0, "stretch": 16.0, "start": 0.1}  # see Autoencoders

_DEEP = {"binary": True, "layers": 2, "latent": 32, "width": 512, "epochs": 30, "learning_rate": 1e-3, "keep": False}
_BINARY = {"betas": [0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 4.0, 8.0]} | _DEEP
RECIPES: dict[str, dict] = {
    "vae-sweep": {"betas": [float(f"{10 ** (k / 2):.3g}") for k in range(-8, 5)], "noise": "gaussian"},
    "echo-sweep": {"betas": [float(f"{10 ** (k / 2):.3g}") for k in range(-5, 3)], "noise": "echo"},
    "vae-binary": {"noise": "gaussian"} | _BINARY,
    "echo-binary": {"noise": "echo"} | _BINARY,
}


def pixels(split: str, binary: bool = False) -> Tensor:
    """All images of a split as rows (N, 784) in [0, 1]; if `binary`, each pixel drawn once for all as 0 or 1."""
    x = (data.mnist(split)[0].flatten(1) + 1) / 2
    if not binary:
        return x
    draw = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))  # on the CPU: the same on every device
    return (draw.to(x.device) < x).float()


def gaussian_rate(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL[N(mean, std²) ‖ N(0, I)] in nats: (…, d) to (…)."""
    return 0.5 * (mean.square() + (2 * log_std).exp() - 1 - 2 * log_std).sum(-1)


class Dense(nn.Module):
    """K linear layers at once: (K, B, in), or one (B, in) that all share, to (K, B, out). All K start alike."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 2.0):
        super().__init__()
        weight = torch.randn(inputs, outputs) * math.sqrt(gain / inputs)  # He et al. 2015 for a ReLU before it
        self.weight = nn.Parameter(weight.repeat(members, 1, 1))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x.expand(len(self.weight), -1, -1), self.weight)


def _stack(members: int, *sizes: int) -> nn.Sequential:
    hidden = [part for pair in zip(sizes, sizes[1:-1], strict=False) for part in (Dense(members, *pair), nn.ReLU())]
    return nn.Sequential(*hidden, Dense(members, *sizes[-2:], 1.0))


class Autoencoders(nn.Module):
    """K autoencoders 784-width-…-latent-…-width-784 of one shape; they differ by their β alone.

    Both noises have the same `layers` hidden layers each way. The encoder's two heads a, b are mean and log std if
    `noise` is "gaussian", else ("echo") they give m = bound · tanh(a / stretch) and s = clip · sigmoid(b) of
    z = m + s·z₁. The echo's settings are `ECHO` where `echo` does not change them; `start` is s before training.
    """

    def __init__(
        self, members: int, latent: int, width: int, noise: str,
        layers: int = 1, binary: bool = False, echo: dict | None = None,
    ):  # fmt: skip
        super().__init__()
        self.noise, self.latent, self.binary, self.echo = noise, latent, binary, ECHO | (echo or {})
        self.encoder = _stack(members, 784, *[width] * layers, 2 * latent)
        self.decoder = _stack(members, latent, *[width] * layers, 784)
        if noise == "echo":  # a little noise that grows learns more than much that shrinks
            share = self.echo["start"] / self.echo["clip"]
            self.encoder[-1].bias.data[..., latent:] = math.log(share / (1 - share))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 784) in [0, 1] to (mean, log std) or (m, s), each (K, B, latent)."""
        first, second = self.encoder(2 * x - 1).chunk(2, -1)
        if self.noise == "gaussian":
            return first, second
        return self.echo["bound"] * (first / self.echo["stretch"]).tanh(), self.echo["clip"] * second.sigmoid()

    def sample(self, first: Tensor, second: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A code z for each image: (K, B, latent). Echoes are those of the batch, in one order for all members."""
        if self.noise == "gaussian":
            draw = torch.randn(first.shape, generator=generator, device=first.device, dtype=first.dtype)
            return first + second.exp() * draw
        members, batch, latent = first.shape
        wide = [tensor.transpose(0, 1).reshape(batch, -1) for tensor in (first, second)]
        depth = min(echo_depth(self.echo["bound"], self.echo["clip"], first.dtype), batch)
        return echo_sample(*wide, depth, generator).view(batch, members, latent).transpose(0, 1)

    def rate(self, first: Tensor, second: Tensor) -> Tensor:
        """KL to the prior (Gaussian) or −log|det S(x)| (echo) of each image: (K, B)."""
        if self.noise == "gaussian":
            return gaussian_rate(first, second)
        return echo_rate(second.flatten(0, 1)).view(second.shape[:2])

    def decode(self, z: Tensor) -> Tensor:
        """Codes (K, B, latent) to images (K, B, 784) in [0, 1]."""
        return self.decoder(z).sigmoid()

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Rate and distortion of each image for each member: (K, B) both."""
        first, second = self.encode(x)
        logits = self.decoder(self.sample(first, second, generator))
        if self.binary:
            error = binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        else:
            error = (logits.sigmoid() - x).square()
        return self.rate(first, second), error.sum(-1)


class Scores(nn.Module):
    """What is left of a sweep whose networks are too large to ship: mean rate and distortion of each member, (K,)."""

    def __init__(self, members: int):
        super().__init__()
        for name in ("rate", "distortion", "train_rate"):  # on the test set, but the last
            self.register_buffer(name, torch.full((members,), math.nan, dtype=torch.float64))


def train(
    name: str,
    betas: list[float],
    noise: str = "gaussian",
    binary: bool = False,
    epochs: int = 20,
    layers: int = 1,
    latent: int = 16,
    width: int = 128,
    batch: int = 256,
    learning_rate: float = 2e-3,
    warm_up: float = WARM_UP,
    images: int = 60_000,
    seed: int = 0,
    echo: dict | None = None,
    keep: bool = True,
) -> store.Trained:
    """A sweep over β from the store, or trained now as one ensemble, a member for each β.

    Modules: "scores" (`Scores`) and, if `keep`, "autoencoders" (`Autoencoders`); echo: changes to `ECHO`.
    The loss is the sum over members of mean(distortion + β · rate), β rising linearly from 0 over the first `warm_up`
    of the training; Adam's learning rate falls linearly to 0.
    Raises ValueError for another noise, no or a negative β, a number out of its range, a batch larger than the set,
    or an unknown echo setting.
    """
    if noise not in ("gaussian", "echo"):
        raise ValueError(f"noise must be 'gaussian' or 'echo', not {noise!r}.")
    require_count(epochs=epochs, layers=layers, latent=latent, width=width, batch=batch, images=images)
    require_count(0, seed=seed)
    require_nonnegative(learning_rate=learning_rate, warm_up=warm_up)
    if not isinstance(betas, Sequence) or not betas:
        raise ValueError(f"betas must be one or more numbers of at least 0, not {betas!r}.")
    for beta in betas:
        require_nonnegative(β=beta)
    if batch > images:
        raise ValueError(f"batch ({batch}) must not exceed images ({images}).")
    if unknown := set(echo or {}) - set(ECHO):
        raise ValueError(f"echo has no setting {', '.join(sorted(unknown))}: it has {', '.join(ECHO)}.")
    config = {
        "betas": list(betas), "noise": noise, "binary": binary, "epochs": epochs, "layers": layers, "latent": latent,
        "width": width, "batch": batch, "learning_rate": learning_rate, "warm_up": warm_up, "images": images,
        "seed": seed, "keep": keep,
    }  # fmt: skip
    if noise == "echo":
        config["echo"] = ECHO | (echo or {})
    x = pixels("train", binary)[:images]

    def start() -> store.Training:
        model = Autoencoders(len(betas), latent, width, noise, layers, binary, echo)
        model.decoder[-1].bias.data[:] = x.mean(0).clamp(1e-3, 1 - 1e-3).logit().cpu()  # the best answer at rate 0
        model.to(device())
        kept, scores = {"autoencoders": model}, {"scores": Scores(len(betas)).to(device())}
        optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)
        rng = torch.Generator(device()).manual_seed(seed)
        return store.Training(scores | kept if keep else scores, {} if keep else kept, {"adam": optimizer}, rng)

    return store.load_or_train(name, config, start, lambda training, epoch: _epoch(training, epoch, config, x))


def _epoch(training: store.Training, epoch: int, config: dict, x: Tensor) -> dict[str, float]:
    model, optimizer = training.networks()["autoencoders"], training.optimizers["adam"]
    betas = torch.tensor(config["betas"], device=x.device).unsqueeze(1)
    batches = torch.randperm(len(x), generator=training.generator, device=x.device).split(config["batch"])
    batches = [batch for batch in batches if len(batch) == config["batch"]]
    total = 0.0
    for step, batch in enumerate(batches):
        progress = (epoch + step / len(batches)) / config["epochs"]
        optimizer.param_groups[0]["lr"] = config["learning_rate"] * (1 - progress)
        warmth = min(1.0, progress / config["warm_up"]) if config["warm_up"] else 1.0
        rate, distortion = model(x[batch], training.generator)
        loss = (distortion + betas * warmth * rate).mean(1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() / len(betas)
    if epoch + 1 == config["epochs"]:
        scores, test = training.modules["scores"], pixels("test", config["binary"])
        scores.train_rate[:] = evaluate(model, x, config["seed"])[0]
        scores.rate[:], scores.distortion[:] = evaluate(model, test, config["seed"])
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
