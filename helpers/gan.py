"""The adversarial games: the hand-out's GAN, WGAN-GP, and a path-aware GAN, with one training loop for all."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import data, store
from helpers.device import device
from helpers.networks import Critic, Generator

RECIPES: dict[str, dict] = {
    "gan": {"loss": "gan"},
    "wgan-gp": {"loss": "wgan-gp"},
    "path-aware": {"loss": "gan", "epochs": 10, "learning_rate": 1e-4, "path_weight": 1.0, "base_epochs": 100},
}
PENALTY_WEIGHT = 10.0
BETAS = {"gan": (0.5, 0.999), "wgan-gp": (0.5, 0.9)}  # Radford et al. 2016; Gulrajani et al. 2017 with β₁ = 0.5


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """BCE[D(x), 1] + BCE[D(G(z)), 0] from logits (B,) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """BCE[D(G(z)), 1] from logits (B,): the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−(mean score of real − mean score of fake), from scores (B,) (Arjovsky et al. 2017, algorithm 1)."""
    return fake.mean() - real.mean()


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)² at x̂ uniform on the segments from fake to real (Gulrajani et al. 2017, eq. 3, λ left out).

    real, fake: (B, …) of one shape; the norm runs over everything but B. Returns a scalar to backpropagate through.
    Raises ValueError if the shapes differ.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real {tuple(real.shape)} and fake {tuple(fake.shape)} must have the same shape.")
    share = torch.rand(len(real), *[1] * (real.dim() - 1), generator=generator, device=real.device, dtype=real.dtype)
    between = (share * real.detach() + (1 - share) * fake.detach()).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    squared = gradient.flatten(1).square().sum(1)
    norm = (squared + 1e-12).sqrt()  # the square root's own gradient is infinite at 0
    return (norm - 1).square().mean()


def straight_line_excess(G: nn.Module, z: Tensor, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """How far ρ of the straight lines between neighbours in a batch is above its floor of 1: a scalar.

    z (B, d) are codes and images (B, 1, 28, 28) their decodings, held fixed. With t uniform this is an unbiased
    estimate of Σ ∫ c(Z(t)) dt / Σ ½‖xA − xB‖² − 1, in which ‖zA − zB‖ has cancelled: a scale of z cannot cheat it.
    """
    x_a, x_b = images.detach(), images.detach().roll(1, 0)
    t = torch.rand(len(z), 1, generator=generator, device=z.device, dtype=z.dtype)
    between = G(torch.lerp(z, z.roll(1, 0), t))
    cost = (between - x_a).square().sum() + (between - x_b).square().sum()
    return cost / (x_a - x_b).square().sum().mul(0.5) - 1


class Film(nn.Module):
    """The same ten codes decoded after each epoch, kept with the model: (epochs, 10, 28, 28), 8 bits."""

    def __init__(self, latent_dim: int, epochs: int):
        super().__init__()
        self.register_buffer("z", torch.randn(10, latent_dim))
        self.register_buffer("frames", torch.zeros(epochs, 10, 28, 28, dtype=torch.uint8))

    @torch.no_grad()
    def shoot(self, generator: nn.Module, epoch: int) -> None:
        generator.eval()
        self.frames[epoch] = ((generator(self.z).squeeze(1) + 1) * 127.5).round().to(torch.uint8)


def train(
    name: str,
    loss: str,
    epochs: int = 100,
    seed: int = 0,
    batch: int = 128,
    latent_dim: int = 64,
    width: int = 256,
    channels: int = 32,
    learning_rate: float = 2e-4,
    average: float = 0.999,
    images: int = 60_000,
    path_weight: float = 0.0,
    base_epochs: int = 0,
) -> store.Trained:
    """A trained GAN from the store, or trained now: modules "generator", "critic", "film".

    loss: "gan" or "wgan-gp", one critic step to one generator step. The learning rate decays linearly from
    `learning_rate` to 0, so its mean is half of it: the hand-out's 1e-4. The generator kept is the exponential moving
    average of the weights. images: how many training images are used. path_weight: that of `straight_line_excess`
    in the generator's loss. base_epochs: start from the plain game of so many epochs, with its BatchNorm frozen.
    Raises ValueError for an unknown loss or a batch larger than the set.
    """
    if loss not in BETAS:
        raise ValueError(f"loss must be 'gan' or 'wgan-gp', not {loss!r}.")
    config = {
        "loss": loss, "epochs": epochs, "seed": seed, "batch": batch, "latent_dim": latent_dim, "width": width,
        "channels": channels, "learning_rate": learning_rate, "average": average, "images": images,
        "betas": BETAS[loss], "penalty_weight": PENALTY_WEIGHT if loss == "wgan-gp" else 0.0,
    }  # fmt: skip
    base = {}
    if base_epochs:
        sizes = {key: config[key] for key in ("batch", "latent_dim", "width", "channels", "images", "seed")}
        base = train(loss, loss, base_epochs, **sizes).modules
    if path_weight or base_epochs:
        config |= {"path_weight": path_weight, "base_epochs": base_epochs}
    if batch > images:
        raise ValueError(f"batch ({batch}) must not exceed images ({images}).")

    def start() -> store.Training:
        trainee = Generator(latent_dim, width, channels).to(device(), memory_format=torch.channels_last)
        critic = Critic().to(device())
        film = Film(latent_dim, epochs).to(device())
        if base:
            trainee.load_state_dict(base["generator"].state_dict())
            critic.load_state_dict(base["critic"].state_dict())
            film.z.copy_(base["film"].z)
        return store.Training(
            {"generator": copy.deepcopy(trainee), "critic": critic, "film": film},
            {"trainee": trainee},
            {
                "trainee": torch.optim.Adam(trainee.parameters(), learning_rate, BETAS[loss], fused=True),
                "critic": torch.optim.Adam(critic.parameters(), learning_rate, BETAS[loss], fused=True),
            },
            torch.Generator(device()).manual_seed(seed),
        )

    return store.load_or_train(name, config, start, lambda training, epoch: _epoch(training, epoch, config))


def _epoch(training: store.Training, epoch: int, config: dict) -> dict[str, float]:
    """One pass over the images, one critic step and one generator step for each batch."""
    real_images = data.mnist("train")[0][: config["images"]]
    G, D, average = training.scratch["trainee"], training.modules["critic"], training.modules["generator"]
    rng, wasserstein = training.generator, config["loss"] == "wgan-gp"
    batches = torch.randperm(len(real_images), generator=rng, device=device()).split(config["batch"])
    batches = [batch for batch in batches if len(batch) == config["batch"]]
    if config.get("base_epochs"):
        G.eval()  # the function trained is then the very one that is used: no batch statistics
    totals = torch.zeros(5, device=device())
    for step, batch in enumerate(batches):
        progress = (epoch + step / len(batches)) / config["epochs"]
        for optimizer in training.optimizers.values():
            optimizer.param_groups[0]["lr"] = config["learning_rate"] * (1 - progress)
        x = real_images[batch]
        z = torch.randn(len(x), config["latent_dim"], generator=rng, device=device())
        fakes = G(z)

        D.requires_grad_(True)
        score_real, score_fake = D(x), D(fakes.detach())
        penalty = gradient_penalty(D, x, fakes, rng) if wasserstein else torch.zeros((), device=device())
        game = critic_loss(score_real, score_fake) if wasserstein else discriminator_loss(score_real, score_fake)
        _step(training.optimizers["critic"], game + config["penalty_weight"] * penalty)

        D.requires_grad_(False)  # the generator's step needs no gradient of the critic's weights
        judged = D(fakes)
        loss = -judged.mean() if wasserstein else generator_loss(judged)
        excess = (
            straight_line_excess(G, z, fakes, rng) if config.get("path_weight") else torch.zeros((), device=device())
        )
        _step(training.optimizers["trainee"], loss + config.get("path_weight", 0.0) * excess)

        decay = min(config["average"], (1 + epoch * len(batches) + step) / (10 + epoch * len(batches) + step))
        _average(average, G, decay)
        right = ((score_real > 0).float().mean() + (score_fake < 0).float().mean()) / 2
        totals += torch.stack([game.detach(), loss.detach(), penalty.detach(), right, excess.detach()])
    training.modules["film"].shoot(average, epoch)
    names = ("critic", "generator", "penalty", "accuracy", "excess")
    return dict(zip(names, (totals / len(batches)).tolist(), strict=True))


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def _average(average: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the averaged weights and the averaged BatchNorm statistics towards the current ones."""
    mine = [t for t in average.state_dict().values() if t.is_floating_point()]
    theirs = [t for t in current.state_dict().values() if t.is_floating_point()]
    torch._foreach_lerp_(mine, theirs, 1 - decay)
