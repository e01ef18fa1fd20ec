"""Adversarial training: losses, gradient penalty, one training step, and the loop that trains every GAN here."""

import copy
from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields, replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from helpers import data, evaluation, store
from helpers.compute import autocast, device, require_count, require_nonnegative
from helpers.networks import CRITICS, GENERATORS, SLOPE, Critic, build_generator
from helpers.path_aware import EncoderPaths
from helpers.store import State


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """BCE[D(x), 1] + BCE[D(G(z)), 0] from logits (B,) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """BCE[D(G(z)), 1] from logits (B,): the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_scores).mean()


def saturating_loss(fake_scores: Tensor) -> Tensor:
    """−BCE[D(G(z)), 0] from logits (B,): the minimax loss, whose gradient vanishes where D(G(z)) is near 0."""
    return -F.softplus(fake_scores).mean()


def critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Mean score of generated minus that of real images, scores (B,) (Arjovsky et al. 2017, algorithm 1)."""
    return fake_scores.mean() - real_scores.mean()


LOSSES = {  # of the critic and of the generator
    "gan": (discriminator_loss, generator_loss),
    "saturating": (discriminator_loss, saturating_loss),
    "wgan": (critic_loss, lambda fake_scores: -fake_scores.mean()),
}


def gradient_penalty(D: Critic, real: Tensor, fake: Tensor, rng: Generator | None = None) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)² with x̂ uniform on segments from fake to real (Gulrajani et al. 2017, eq. 3).

    The gradient of a LeakyReLU critic is a product, wᵀ…M₂W₂M₁W₁. The diagonal matrices Mₖ hold the slopes, 1 or SLOPE,
    at x̂. They are constant almost everywhere, so one backward pass through the product gives the exact weight gradient.
    Raises ValueError for any other kind of critic.
    """
    if not isinstance(D, Critic) or {*map(type, D.net)} - {nn.Flatten, nn.Linear, nn.LeakyReLU}:
        raise ValueError("D must be a Critic of linear layers and LeakyReLUs, with no other layer.")
    *hidden, last = [layer for layer in D.net if isinstance(layer, nn.Linear)]
    masks = []
    with torch.no_grad():
        x = interpolate(real, fake, rng).flatten(1)
        for layer in hidden:
            x = layer(x)
            masks.append(torch.where(x > 0, torch.ones_like(x), SLOPE))
            x = x * masks[-1]
    gradient = last.weight.expand(len(x), -1)
    for layer, mask in zip(reversed(hidden), reversed(masks), strict=True):
        gradient = (gradient * mask) @ layer.weight
    norm = gradient.to(real.dtype).square().sum(1)  # under autocast the gradient is in bfloat16
    return ((norm + 1e-12).sqrt() - 1).square().mean()  # 1e-12: the root has an infinite gradient at 0


@torch.enable_grad()  # also if the caller has disabled gradients
def r1_penalty(critic: nn.Module, real: Tensor) -> Tensor:
    """E ‖∇D(x)‖² at real images x (B, 1, 28, 28) (Mescheder et al. 2018, eq. 9)."""
    x = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def random_shift(images: Tensor, size: int, rng: Generator | None = None) -> Tensor:
    """Each image (B, 1, 28, 28) moved by up to `size` pixels both ways (Zhao et al. 2020)."""
    if not size:
        return images
    rows, columns = torch.randint(2 * size + 1, (2, len(images), 1), generator=rng, device=images.device)
    pixels, number = torch.arange(28, device=images.device), torch.arange(len(images), device=images.device)
    padded = F.pad(images, (size,) * 4, value=-1.0)
    return padded[number[:, None, None], 0, (rows + pixels)[:, :, None], (columns + pixels)[:, None, :]].unsqueeze(1)


def interpolate(real: Tensor, fake: Tensor, rng: Generator | None = None) -> Tensor:
    """x̂ = ε real + (1 − ε) fake with one ε ~ U(0, 1) for each image, without gradients."""
    if not (real.is_floating_point() and real.dtype == fake.dtype and real.shape == fake.shape):
        found = f"{real.dtype} {tuple(real.shape)} and {fake.dtype} {tuple(fake.shape)}"
        raise ValueError(f"real and fake images must have one floating dtype and one shape, not {found}.")
    epsilon = torch.rand(len(real), 1, 1, 1, generator=rng, device=real.device, dtype=real.dtype)
    return torch.lerp(fake.detach(), real.detach(), epsilon)


@dataclass(frozen=True)
class GanConfig:
    """Settings of a training; the defaults are the assignment's GAN. Raises ValueError if one is out of its range."""

    loss: str = "gan"  # a key of LOSSES
    epochs: int = 100  # in each the critic sees every image once
    batch_size: int = 128
    learning_rate: float = 2e-4  # of Adam; it falls linearly to 0, so that its mean is the assignment's 1e-4
    betas: tuple[float, float] = (0.5, 0.999)  # of Adam (Radford et al. 2016)
    penalty_weight: float = 0.0  # of the gradient penalty
    r1_weight: float = 0.0  # γ: γ/2 is the weight of the R1 penalty (Mescheder et al. 2018)
    r1_every: int = 1  # the R1 penalty is added every r1_every steps, multiplied by r1_every
    shift: int = 0  # real and generated images are moved by up to so many pixels before the critic sees them
    ema_decay: float = 0.999  # of the moving average of the generator's weights, which is the generator kept
    generator: str = "conv"  # one of networks.GENERATORS
    critic: str = "mlp"  # one of networks.CRITICS
    latent_dim: int = 64
    width: int = 256
    channels: int = 16
    images: int = 60_000
    seed: int = 0
    base: str = ""  # the name of a model to go on from, with its BatchNorm frozen,
    base_epochs: int = 0  # and the epochs of its own training
    path_weight: float = 0.0  # of the path loss in the generator's (see path_aware)
    inversion_weight: float = 0.0  # of the inversion loss in it
    num_eval_samples: int = 10_000  # scored after every `eval_every` epochs and at the end; 0: never
    eval_every: int = 5
    classifier: dict = field(default_factory=dict)  # changes to the classifier that scores
    keep: tuple[str, ...] = ("generator", "critic", "film")  # the modules that the store keeps beside the record

    def __post_init__(self):
        for name, choices in (("loss", LOSSES), ("generator", GENERATORS), ("critic", CRITICS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}.")
        for entry in fields(self):
            if entry.type is int:
                may_be_zero = entry.name in ("seed", "shift", "base_epochs", "num_eval_samples")
                require_count(0 if may_be_zero else 1, **{entry.name: getattr(self, entry.name)})
            elif entry.type is float:
                require_nonnegative(**{entry.name: getattr(self, entry.name)})
        if self.batch_size > self.images:
            raise ValueError(f"batch_size ({self.batch_size}) must not exceed images ({self.images}).")


WGAN_GP = GanConfig(loss="wgan", betas=(0.5, 0.9), penalty_weight=10.0)  # Gulrajani et al. 2017, but for β₁ = 0
PATH_AWARE = replace(
    WGAN_GP, epochs=5, learning_rate=1e-4, base="wgan-gp", base_epochs=100, path_weight=10.0, inversion_weight=10.0,
    keep=("generator",),
)  # fmt: skip
R1 = GanConfig(r1_weight=1.0, keep=("generator",))  # the GAN with a zero-centred penalty (Mescheder et al. 2018)
BEST = GanConfig(
    epochs=60, learning_rate=4e-4, betas=(0.0, 0.99), r1_weight=0.1, r1_every=8, shift=2, generator="conv-refined",
    channels=64, critic="conv", eval_every=4, keep=("generator",),
)  # fmt: skip
CONFIGS = {"gan": GanConfig(), "wgan-gp": WGAN_GP, "r1": R1, "best": BEST, "path-aware": PATH_AWARE}


def train(config: GanConfig, name: str = "gan") -> store.Trained:
    """The model with this name and config (modules `config.keep`): loaded if stored, otherwise trained."""
    with store.training(name, asdict(config), lambda: _initial_state(config)) as run:
        state, networks, rng = run.state, run.state.networks(), run.state.rng
        G, G_ema = networks["raw_generator"], networks["generator"]
        for epoch in run.epochs():
            images, losses = data.mnist("train")[0][: config.images], defaultdict(list)
            steps = len(images) // config.batch_size
            order = torch.randperm(len(images), generator=rng, device=device())
            if config.base:
                G.eval()  # freeze BatchNorm, so that training and evaluation use the same function
            if "encoder" in networks and epoch == 0:
                networks["encoder"].warm_up(G, images, rng)
            for step, batch in enumerate(order.split(config.batch_size)[:steps], start=epoch * steps):
                remaining = 1 - step / steps / config.epochs
                for key, optimizer in state.optimizers.items():
                    faster = 10 if key == "encoder" else 1
                    optimizer.param_groups[0]["lr"] = faster * config.learning_rate * remaining
                z = torch.randn(config.batch_size, config.latent_dim, generator=rng, device=device())
                for key, loss in train_step(state, config, images[batch], z, step).items():
                    losses[key].append(loss)
                _update_average(G_ema, G, config.ema_decay, step)
            networks["film"].record(G_ema.eval(), epoch)
            means = {key: sum(values) / len(values) for key, values in losses.items()}
            run.log(means | _scores(G_ema, config, epoch + 1))
    return run.trained


def train_step(state: State, config: GanConfig, x: Tensor, z: Tensor, step: int) -> dict[str, Tensor]:
    """A discriminator step on real images x (B, 1, 28, 28) and samples G(z), then a generator step.

    step: its number; the R1 penalty is not computed in every step. Returns the losses, their terms, and the share of
    images whose score has the correct sign.
    """
    networks, optimizers, losses = state.networks(), state.optimizers, {}
    G, D = networks["raw_generator"], networks["critic"]
    loss_of_critic, loss_of_generator = LOSSES[config.loss]
    with autocast():
        real, fake = (random_shift(images, config.shift, state.rng) for images in (x, G(z)))
        real_scores, fake_scores = D(torch.cat([real, fake.detach()])).float().chunk(2)
        losses["critic"] = total = loss_of_critic(real_scores, fake_scores)
        if config.penalty_weight:
            losses["penalty"] = gradient_penalty(D, real, fake.to(real.dtype), state.rng)
            total = total + config.penalty_weight * losses["penalty"]
        if config.r1_weight and step % config.r1_every == 0:
            losses["r1"] = r1_penalty(D, real)
            total = total + config.r1_weight / 2 * config.r1_every * losses["r1"]
    take_step(total, optimizers["critic"])
    losses["accuracy"] = ((real_scores > 0).float().mean() + (fake_scores < 0).float().mean()) / 2

    with autocast():
        losses["generator"] = total = loss_of_generator(D(fake).float())
    if "encoder" in networks:  # path-aware training, chapter 8
        total = total + path_terms(state, config, x, losses)
    take_step(total, optimizers["generator"])
    return {key: loss.detach() for key, loss in losses.items()}


def path_terms(state: State, config: GanConfig, x: Tensor, losses: dict[str, Tensor]) -> Tensor:
    """The weighted sum of path and inversion loss of real images x, which join `losses`; a step of the encoder."""
    networks = state.networks()
    with autocast():
        losses["path"], losses["inversion"] = networks["encoder"](networks["raw_generator"], x, state.rng)
    path_loss = losses["path"] if config.path_weight else 0.0
    take_step(path_loss + losses["inversion"], state.optimizers["encoder"], retain_graph=True)
    return config.path_weight * losses["path"] + config.inversion_weight * losses["inversion"]


def take_step(loss: Tensor, optimizer: torch.optim.Optimizer, retain_graph: bool = False) -> None:
    """One optimiser step on the loss; gradients are computed only for the parameters of this optimiser."""
    optimizer.zero_grad()
    loss.backward(inputs=optimizer.param_groups[0]["params"], retain_graph=retain_graph)
    optimizer.step()


def _initial_state(config: GanConfig) -> State:
    """Networks and optimisers at the start, the networks with the weights of the base model if there is one."""
    G = build_generator(config.generator, config.latent_dim, config.width, config.channels)
    G.to(device(), memory_format=torch.channels_last)
    # "generator" is the moving average, which is kept; "raw_generator" is the one that Adam trains
    networks = {"raw_generator": G, "generator": copy.deepcopy(G), "critic": CRITICS[config.critic]().to(device())}
    networks["film"] = SampleHistory(config.latent_dim, config.epochs).to(device())
    if config.base:
        plain = replace(
            config, epochs=config.base_epochs, base="", base_epochs=0, path_weight=0.0, inversion_weight=0.0, seed=0,
            learning_rate=GanConfig.learning_rate, keep=GanConfig.keep,
        )  # fmt: skip
        base = train(plain, config.base).modules
        for key in ("raw_generator", "generator", "critic"):
            networks[key].load_state_dict(base[key.removeprefix("raw_")].state_dict())
        networks["film"].z.copy_(base["film"].z)
    weights = {"generator": G.parameters(), "critic": networks["critic"].parameters()}
    optimizers = {k: torch.optim.Adam(w, config.learning_rate, config.betas, fused=True) for k, w in weights.items()}
    if config.path_weight or config.inversion_weight:
        networks["encoder"] = EncoderPaths(config.latent_dim).to(device())
        optimizers["encoder"] = torch.optim.Adam(networks["encoder"].parameters())
    kept = {key: networks.pop(key) for key in config.keep}
    return State(kept, networks, optimizers, Generator(device()).manual_seed(config.seed))


@torch.no_grad()
def _update_average(average: nn.Module, current: nn.Module, decay: float, updates: int) -> None:
    """Move the averaged weights and BatchNorm statistics towards the current ones, faster in the first updates."""
    mine = [tensor for tensor in average.state_dict().values() if tensor.is_floating_point()]
    theirs = [tensor for tensor in current.state_dict().values() if tensor.is_floating_point()]
    torch._foreach_lerp_(mine, theirs, 1 - min(decay, (1 + updates) / (10 + updates)))


def _scores(G_ema: nn.Module, config: GanConfig, epoch: int) -> dict[str, float]:
    """What the history records of the samples' quality after this epoch, if anything."""
    if not config.num_eval_samples or (epoch % config.eval_every and epoch < config.epochs):
        return {}
    classifier = evaluation.train_classifier(**config.classifier).modules["classifier"]
    images = evaluation.sample(G_ema, config.num_eval_samples, config.seed)
    if epoch < config.epochs:
        return {"frechet": evaluation.frechet(images, classifier)}
    return evaluation.scores(images, classifier)


class SampleHistory(nn.Module):
    """The same ten codes decoded after each epoch, kept with the model: (epochs, 10, 28, 28), 8 bits."""

    def __init__(self, latent_dim: int, epochs: int):
        super().__init__()
        self.register_buffer("z", torch.randn(10, latent_dim))
        self.register_buffer("frames", torch.zeros(epochs, 10, 28, 28, dtype=torch.uint8))

    @torch.no_grad()
    def record(self, generator: nn.Module, epoch: int) -> None:
        self.frames[epoch] = ((generator(self.z).squeeze(1) + 1) * 127.5).round().to(torch.uint8)


def load_generator(name: str) -> nn.Module:
    """A shipped generator, one of CONFIGS, with `.latent_dim`, in eval mode; trained if missing."""
    if name not in CONFIGS:
        raise ValueError(f"no generator {name!r}: choose one of {', '.join(map(repr, CONFIGS))}.")
    return train(CONFIGS[name], name).modules["generator"]
