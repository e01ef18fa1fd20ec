"""The networks of the GAN questions: generators with both architectures of the hand-out, and two critics."""

from itertools import pairwise

from torch import Tensor, nn

SLOPE = 0.2  # of LeakyReLU below 0
INITIALISATIONS = ("default", "he", "batchnorm")  # of the fully connected generator


class ConvGenerator(nn.Module):
    """The hand-out's second architecture: maps codes (B, latent_dim) to images (B, 1, 28, 28) in [−1, 1]."""

    def __init__(self, latent_dim: int = 64, width: int = 256, channels: int = 16):
        super().__init__()
        self.latent_dim = latent_dim
        half = channels // 2
        self.net = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(width, channels * 49),
            nn.BatchNorm1d(channels * 49),
            nn.LeakyReLU(SLOPE),
            nn.Unflatten(1, (channels, 7, 7)),
            nn.ConvTranspose2d(channels, half, 4, stride=2, padding=1),
            nn.BatchNorm2d(half),
            nn.LeakyReLU(SLOPE),
            nn.ConvTranspose2d(half, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class RefinedGenerator(ConvGenerator):
    """The same with one more convolution, at 14×14."""

    def __init__(self, latent_dim: int = 64, width: int = 256, channels: int = 16):
        half = channels // 2
        more = nn.Conv2d(half, half, 3, padding=1), nn.BatchNorm2d(half), nn.LeakyReLU(SLOPE)
        super().__init__(latent_dim, width, channels)
        self.net = nn.Sequential(*self.net[:-2], *more, *self.net[-2:])


class MLPGenerator(nn.Module):
    """The hand-out's first architecture: [Linear → LeakyReLU] × 4 of growing widths, then Linear → tanh.

    initialisation: "default" (PyTorch's), "he" (variance 2 / (1 + SLOPE²) / inputs, He et al. 2015), or "batchnorm"
    (PyTorch's, with BatchNorm after each hidden linear layer). Raises ValueError for another one.
    """

    def __init__(self, latent_dim: int = 64, initialisation: str = "he"):
        super().__init__()
        if initialisation not in INITIALISATIONS:
            raise ValueError(f"initialisation must be one of {', '.join(INITIALISATIONS)}, not {initialisation!r}.")
        self.latent_dim = latent_dim
        widths = [latent_dim, 128, 256, 512, 1024]
        layers = []
        for inputs, outputs in pairwise(widths):
            layers.append(nn.Linear(inputs, outputs))
            if initialisation == "batchnorm":
                layers.append(nn.BatchNorm1d(outputs))
            layers.append(nn.LeakyReLU(SLOPE))
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
        if initialisation == "he":
            he_initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class MLPCritic(nn.Module):
    """The fully connected discriminator or critic: maps images (B, 1, 28, 28) to logits or scores (B,)."""

    def __init__(self, widths: tuple[int, ...] = (512, 256)):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise((784, *widths)):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


class ConvCritic(nn.Module):
    """A convolutional discriminator, 28×28 → 14×14 → 7×7 → linear: maps images (B, 1, 28, 28) to (B,)."""

    def __init__(self, channels: int = 32, hidden: int = 128):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            nn.Linear(2 * channels * 49, hidden),
            nn.LeakyReLU(SLOPE),
            nn.Linear(hidden, 1),
        )
        he_initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def he_initialise(network: nn.Module) -> None:
    """Weights of variance 2 / (1 + SLOPE²) / inputs, biases 0 (He et al. 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE, nonlinearity="leaky_relu")
            nn.init.zeros_(layer.bias)


GENERATORS = {  # from the latent dimension, the width of the linear layers and the number of channels
    "conv": ConvGenerator,
    "conv-refined": RefinedGenerator,
    "mlp-default": lambda latent_dim, width, channels: MLPGenerator(latent_dim, "default"),
    "mlp-he": lambda latent_dim, width, channels: MLPGenerator(latent_dim, "he"),
    "mlp-batchnorm": lambda latent_dim, width, channels: MLPGenerator(latent_dim, "batchnorm"),
}
CRITICS = {"mlp": MLPCritic, "conv": ConvCritic}


def build_generator(kind: str, latent_dim: int = 64, width: int = 256, channels: int = 16) -> nn.Module:
    """A generator of one of the GENERATORS; width and channels are those of "conv" and "conv-refined".

    Raises ValueError for another kind.
    """
    if kind not in GENERATORS:
        raise ValueError(f"generator must be one of {', '.join(GENERATORS)}, not {kind!r}.")
    return GENERATORS[kind](latent_dim, width, channels)
