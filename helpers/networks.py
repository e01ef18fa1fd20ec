"""The networks of the GAN questions: generators with both architectures of the hand-out, and two critics."""

from torch import Tensor, nn

SLOPE = 0.2  # of LeakyReLU below 0
GENERATORS = ("conv", "conv-refined", "mlp-default", "mlp-he", "mlp-batchnorm")


class Generator(nn.Module):
    """The hand-out's second architecture: maps codes (B, latent_dim) to images (B, 1, 28, 28) in [−1, 1]."""

    def __init__(self, latent_dim: int = 64, width: int = 256, channels: int = 16):
        super().__init__()
        self.latent_dim, half = latent_dim, channels // 2
        self.net = nn.Sequential(
            nn.Linear(latent_dim, width), nn.BatchNorm1d(width), nn.LeakyReLU(SLOPE),
            nn.Linear(width, channels * 49), nn.BatchNorm1d(channels * 49), nn.LeakyReLU(SLOPE),
            nn.Unflatten(1, (channels, 7, 7)),
            nn.ConvTranspose2d(channels, half, 4, stride=2, padding=1),
            nn.BatchNorm2d(half), nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(half, 1, 4, stride=2, padding=1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class RefinedGenerator(Generator):
    """The same with one more convolution, at 14×14."""

    def __init__(self, latent_dim: int = 64, width: int = 256, channels: int = 16):
        half = channels // 2
        more = nn.Conv2d(half, half, 3, padding=1), nn.BatchNorm2d(half), nn.LeakyReLU(SLOPE)
        super().__init__(latent_dim, width, channels)
        self.net = nn.Sequential(*self.net[:-2], *more, *self.net[-2:])


class MLPGenerator(nn.Module):
    """The hand-out's first architecture: [Linear → LeakyReLU] × 4 of growing widths, then Linear → tanh.

    start: "default" (PyTorch's initialisation), "he" (variance 2 / (1 + SLOPE²) / inputs, He et al. 2015), or
    "batchnorm" (PyTorch's, with BatchNorm after each hidden linear layer).
    """

    def __init__(self, latent_dim: int = 64, start: str = "he"):
        super().__init__()
        self.latent_dim = latent_dim
        widths, layers = [latent_dim, 128, 256, 512, 1024], []
        for inputs, outputs in zip(widths, widths[1:], strict=False):
            norm = [nn.BatchNorm1d(outputs)] if start == "batchnorm" else []
            layers += [nn.Linear(inputs, outputs), *norm, nn.LeakyReLU(SLOPE)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
        if start == "he":
            he_initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class Critic(nn.Module):
    """The fully connected discriminator or critic: maps images (B, 1, 28, 28) to logits or scores (B,)."""

    def __init__(self, widths: tuple[int, ...] = (512, 256)):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in zip((784, *widths), widths, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


class ConvCritic(nn.Module):
    """A convolutional discriminator, 28×28 → 14×14 → 7×7 → linear: maps images (B, 1, 28, 28) to (B,)."""

    def __init__(self, channels: int = 32, hidden: int = 128):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE), nn.Flatten(),
            nn.Linear(2 * channels * 49, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 1),
        )  # fmt: skip
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def he_initialise(network: nn.Module) -> None:
    """Weights of variance 2 / (1 + SLOPE²) / inputs, biases 0 (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)


def build_generator(kind: str, latent_dim: int, width: int, channels: int) -> nn.Module:
    """A generator of one of the GENERATORS; width and channels are those of "conv" and "conv-refined"."""
    if kind.startswith("conv"):
        return (Generator if kind == "conv" else RefinedGenerator)(latent_dim, width, channels)
    return MLPGenerator(latent_dim, kind.removeprefix("mlp-"))


CRITICS = {"mlp": Critic, "conv": ConvCritic}
