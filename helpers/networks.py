"""The networks of the GAN questions: two generators after the hand-out's recipes, and the critic."""

from torch import Tensor, nn

LEAK = 0.2
GENERATORS = ("conv", "mlp-default", "mlp-he", "mlp-batchnorm")


def _initialise(network: nn.Module) -> None:
    """He et al. (2015): each layer keeps the variance of its input, so the code still matters at the last layer."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, a=LEAK, nonlinearity="leaky_relu", mode="fan_in")
            nn.init.zeros_(layer.bias)


class Generator(nn.Module):
    """The hand-out's second recipe: two linear layers, then ConvTranspose → BatchNorm → LeakyReLU, 7×7 → 14×14 → 28×28.

    Maps codes (B, latent_dim) to images (B, 1, 28, 28) in [−1, 1].
    """

    def __init__(self, latent_dim: int = 64, width: int = 256, channels: int = 64):
        super().__init__()
        self.latent_dim = latent_dim
        self.net = nn.Sequential(
            nn.Linear(latent_dim, width),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(LEAK),
            nn.Linear(width, channels * 49),
            nn.BatchNorm1d(channels * 49),
            nn.LeakyReLU(LEAK),
            nn.Unflatten(1, (channels, 7, 7)),
            nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1),
            nn.BatchNorm2d(channels // 2),
            nn.LeakyReLU(LEAK),
            nn.ConvTranspose2d(channels // 2, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class MLPGenerator(nn.Module):
    """The hand-out's first recipe: [Linear → LeakyReLU] × 4 of growing widths, then Linear → tanh.

    start: "default" (PyTorch's initialisation), "he", or "batchnorm" (default, with BatchNorm after each linear layer).
    """

    def __init__(self, latent_dim: int = 64, start: str = "he"):
        super().__init__()
        self.latent_dim = latent_dim
        widths = [latent_dim, 128, 256, 512, 1024]
        layers: list[nn.Module] = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(LEAK)]
        if start != "batchnorm":
            layers = [layer for layer in layers if not isinstance(layer, nn.BatchNorm1d)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
        if start == "he":
            _initialise(self.net)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class Critic(nn.Module):
    """The fully connected discriminator (a logit) or critic (a score): images (B, 1, 28, 28) to (B,).

    Piecewise linear and without BatchNorm, so that each image's gradient is its own: the penalty needs that.
    """

    def __init__(self, widths: tuple[int, ...] = (512, 256)):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip((784, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), nn.LeakyReLU(LEAK)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def build_generator(kind: str, latent_dim: int, width: int, channels: int) -> nn.Module:
    """The generator "conv", or "mlp-" and how the fully connected one starts; the last two sizes are conv's.

    Raises ValueError for another kind.
    """
    if kind == "conv":
        return Generator(latent_dim, width, channels)
    if kind not in GENERATORS:
        raise ValueError(f"the generator must be one of {', '.join(GENERATORS)}, not {kind!r}.")
    return MLPGenerator(latent_dim, kind.removeprefix("mlp-"))
