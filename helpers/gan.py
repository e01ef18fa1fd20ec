"""Adversarial training: losses, gradient penalty, one training step, and the loop that trains every GAN here."""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from helpers import data, evaluation, inversion, path_aware, store
from helpers.compute import autocast, device
from helpers.config import (
    AsTuple,
    Count,
    CountOrZero,
    Nonnegative,
    Share,
    config_hash,
    configuration,
    one_of,
    or_dictionary,
)
from helpers.evaluation import NEIGHBOURS, ClassifierConfig
from helpers.networks import CRITICS, GENERATORS, build_generator
from helpers.provenance import sha256


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """BCE[D(x), 1] + BCE[D(G(z)), 0] from logits (B,) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def generator_loss(fake_scores: Tensor) -> Tensor:
    """BCE[D(G(z)), 1] from logits (B,): the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake_scores).mean()


def saturating_loss(fake_scores: Tensor) -> Tensor:
    """−BCE[D(G(z)), 0] from logits (B,): the minimax loss, whose gradient vanishes where D(G(z)) is near 0."""
    return -F.softplus(fake_scores).mean()


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """Mean score of generated minus that of real images, scores (B,) (Arjovsky et al. 2017, algorithm 1)."""
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """Minus the mean score of generated images, scores (B,): the generator's loss against a critic."""
    return -fake_scores.mean()


def adversarial_losses(kind: str) -> tuple[Callable, Callable]:
    """The losses of critic and generator; looked up when they are called, so that a redefined one takes effect."""
    if kind == "wgan":
        return wasserstein_critic_loss, wasserstein_generator_loss
    if kind == "saturating":
        return discriminator_loss, saturating_loss
    return discriminator_loss, generator_loss


def gradient_penalty(D: nn.Module, real: Tensor, fake: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """E (‖∇D(x̂)‖ − 1)² with x̂ uniform on segments from fake to real (Gulrajani et al. 2017, eq. 3).

    D: any critic that maps images (B, …) to scores (B,), each from its own image alone (no BatchNorm). real, fake:
    images of one shape. Returns a scalar that can be differentiated with respect to the weights of D.
    """
    x_hat = interpolate(real, fake, rng)
    norm = input_gradient(D, x_hat).flatten(1).square().sum(1)
    return ((norm + 1e-12).sqrt() - 1).square().mean()  # 1e-12: the root has an infinite gradient at 0


def r1_penalty(D: nn.Module, real: Tensor) -> Tensor:
    """E ‖∇D(x)‖² at real images x (B, …) (Mescheder et al. 2018, eq. 9), for any critic as in `gradient_penalty`."""
    return input_gradient(D, real).flatten(1).square().sum(1).mean()


@torch.inference_mode(False)
@torch.enable_grad()  # also if the caller has disabled gradients
def input_gradient(D: nn.Module, x: Tensor) -> Tensor:
    """∇D at images x (B, …), of their shape, differentiable with respect to the weights of D."""
    x = x.detach().clone().requires_grad_()  # a clone, since x may come from inference mode
    (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    return gradient


def interpolate(real: Tensor, fake: Tensor, rng: torch.Generator | None = None) -> Tensor:
    """x̂ = ε real + (1 − ε) fake with one ε ~ U(0, 1) for each image (B, …), without gradients.

    Raises ValueError unless both have one shape and one floating dtype.
    """
    if not (real.is_floating_point() and real.dtype == fake.dtype and real.shape == fake.shape):
        found = f"{real.dtype} {tuple(real.shape)} and {fake.dtype} {tuple(fake.shape)}"
        raise ValueError(f"real and fake images must have one floating dtype and one shape, not {found}.")
    shape = (len(real), *[1] * (real.dim() - 1))
    epsilon = torch.rand(shape, generator=rng, device=real.device, dtype=real.dtype)
    return torch.lerp(fake.detach(), real.detach(), epsilon)


def random_shift(images: Tensor, size: int, rng: torch.Generator | None = None) -> Tensor:
    """Each image (B, 1, 28, 28) moved by up to `size` pixels both ways (Zhao et al. 2020)."""
    if not size:
        return images
    down, right = torch.randint(2 * size + 1, (2, len(images), 1), generator=rng, device=images.device)
    pixels = torch.arange(28, device=images.device)
    image = torch.arange(len(images), device=images.device)[:, None, None]  # (B, 1, 1)
    row = (down + pixels)[:, :, None]  # (B, 28, 1)
    column = (right + pixels)[:, None, :]  # (B, 1, 28)
    padded = F.pad(images, (size,) * 4, value=-1.0)
    return padded[image, 0, row, column].unsqueeze(1)


@configuration
class GanConfig:
    """Settings of a training; the defaults are the assignment's GAN. Raises ValueError if one is out of its range."""

    loss: Literal["gan", "saturating", "wgan"] = "gan"  # see `adversarial_losses`
    epochs: Count = 100  # in each the critic sees every image at most once: an incomplete last batch is dropped
    batch_size: Annotated[int, Field(ge=2)] = 128
    learning_rate: Nonnegative = 2e-4  # of Adam; it falls linearly to 0, so that its mean is the assignment's 1e-4
    betas: Annotated[tuple[Share, Share], AsTuple] = (0.5, 0.999)  # of Adam (Radford et al. 2016)
    penalty_weight: Nonnegative = 0.0  # of the gradient penalty
    critic_steps: Count = 1  # of the critic before each step of the generator (Gulrajani et al. 2017: 5)
    r1_weight: Nonnegative = 0.0  # γ: γ/2 is the weight of the R1 penalty (Mescheder et al. 2018)
    r1_every: Count = 1  # the R1 penalty is added every r1_every steps, multiplied by r1_every
    shift: CountOrZero = 0  # real and generated images are moved by up to so many pixels before the critic sees them
    ema_decay: Share = 0.999  # of the moving average of the generator's weights, which is the generator kept
    generator: Annotated[str, one_of(GENERATORS)] = "conv"
    critic: Annotated[str, one_of(CRITICS)] = "mlp"
    latent_dim: Count = 64
    width: Count = 256
    channels: Annotated[int, Field(ge=2)] = 16
    images: Annotated[int, Field(ge=1, le=60_000)] = 60_000
    seed: CountOrZero = 0
    base: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""  # `train` sets it to the SHA-256 of its `base`
    path_weight: Nonnegative = 0.0  # of the path loss in the generator's (see path_aware)
    inversion_weight: Nonnegative = 0.0  # of the inversion loss in it
    energy_weight: Nonnegative = 0.0  # of the energy loss in it, which takes the place of the path loss
    warm_up_steps: CountOrZero = 500  # steps in which the encoder alone is trained before the first epoch
    code_penalty: Nonnegative = 0.1  # μ of ‖e‖² in the inversion loss of the encoder's codes e
    encoder_path_weight: Nonnegative = 0.0  # ν: the encoder minimises inversion loss + ν path (or energy) loss
    codes_on_sphere: bool = False  # the encoder's codes are scaled to norm √latent_dim
    num_eval_samples: CountOrZero = 10_000  # scored after every `eval_every` epochs and at the end; 0: never
    eval_every: Count = 5
    classifier: Annotated[ClassifierConfig, or_dictionary(ClassifierConfig)] = ClassifierConfig()  # that scores
    keep: Annotated[tuple[Literal["generator", "critic", "film"], ...], AsTuple] = ("generator", "critic", "film")

    def __post_init__(self):
        if self.batch_size > self.images:
            raise ValueError(f"batch_size ({self.batch_size}) must not exceed images ({self.images}).")
        if self.path_weight and self.energy_weight:
            raise ValueError("path_weight and energy_weight exclude each other: one of them must be 0.")
        if 0 < self.num_eval_samples <= NEIGHBOURS:
            few = f"0 or more than {NEIGHBOURS}, the number of neighbours that the scores use"
            raise ValueError(f"num_eval_samples must be {few}, not {self.num_eval_samples}.")


WGAN_GP = GanConfig(loss="wgan", betas=(0.5, 0.9), penalty_weight=10.0)  # Gulrajani et al. 2017, but for β₁ = 0
PATH_AWARE = replace(  # continues the training of a WGAN-GP
    WGAN_GP,
    epochs=5,
    learning_rate=1e-4,
    inversion_weight=10.0,
    keep=("generator",),
)
R1 = GanConfig(r1_weight=1.0, keep=("generator",))  # the GAN with a zero-centred penalty (Mescheder et al. 2018)
BEST = GanConfig(
    epochs=60,
    learning_rate=4e-4,
    betas=(0.0, 0.99),
    r1_weight=0.1,
    r1_every=8,
    shift=2,
    generator="conv-refined",
    channels=64,
    critic="conv",
    eval_every=4,
    keep=("generator",),
)
CONFIGS = {"gan": GanConfig(), "wgan-gp": WGAN_GP, "r1": R1, "best": BEST, "path-aware": PATH_AWARE}


class GAN:
    """Generator and critic of one training, with their optimisers and random numbers.

    G is the generator that Adam trains; G_ema, the moving average of its weights, is evaluated and kept. `encoder` is
    None except in path-aware training. base: a model whose training is continued; ValueError if it does not fit.
    """

    def __init__(self, config: GanConfig, base: store.Trained | None = None):
        self.config = config
        self.G = build_generator(config.generator, config.latent_dim, config.width, config.channels)
        self.G.to(device(), memory_format=torch.channels_last)
        self.G_ema = copy.deepcopy(self.G)
        self.D = CRITICS[config.critic]().to(device())
        self.film = SampleHistory(config.latent_dim, config.epochs).to(device())
        if base:
            self.continue_from(base)
        self.opt_G = torch.optim.Adam(self.G.parameters(), config.learning_rate, config.betas, fused=True)
        self.opt_D = torch.optim.Adam(self.D.parameters(), config.learning_rate, config.betas, fused=True)
        self.encoder = None
        if config.path_weight or config.inversion_weight or config.energy_weight:
            self.encoder = path_aware.Encoder(config.latent_dim, config.codes_on_sphere).to(device())
            self.opt_E = torch.optim.Adam(self.encoder.parameters())
        self.rng = torch.Generator(device()).manual_seed(config.seed)
        modules = {"generator": self.G_ema, "critic": self.D, "film": self.film}
        self.kept = {name: modules[name] for name in config.keep}
        self.data = data.fingerprint("train")

    @property
    def code(self) -> list:
        """The functions and classes on which the result depends most, as they are now (see `provenance.code_hash`)."""
        config = self.config
        parts = [GAN.step, GAN.critic_objective, GAN.generator_step, GAN.set_learning_rate]
        parts += [*adversarial_losses(config.loss), type(self.G), type(self.D), take_step, update_average]
        if config.penalty_weight:
            parts += [gradient_penalty, interpolate, input_gradient]
        if config.r1_weight:
            parts += [r1_penalty, input_gradient]
        if config.shift:
            parts += [random_shift]
        if config.base:
            parts += [GAN.begin_epoch, GAN.continue_from]
        if self.encoder is not None:
            parts += [path_aware.Encoder, path_aware.OnSphere, path_aware.inversion_loss, path_aware.path_loss]
            parts += [path_aware.warm_up, inversion.objective, GAN.encoder_step]
        if config.energy_weight:
            parts += [path_aware.energy_loss]
        return parts

    def continue_from(self, base: store.Trained) -> None:
        """Begin with the weights of a trained model."""
        try:
            self.G.load_state_dict(base.modules["generator"].state_dict())
            self.G_ema.load_state_dict(base.modules["generator"].state_dict())
            self.D.load_state_dict(base.modules["critic"].state_dict())
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"base has other networks than this configuration: {reason}") from None
        if "film" in base.modules:
            self.film.z.copy_(base.modules["film"].z)

    def begin_epoch(self, epoch: int, images: Tensor) -> None:
        """What precedes the steps of an epoch where the training continues that of a base."""
        if self.config.base:
            self.G.eval()  # freeze BatchNorm, so that training and evaluation use the same function
        if self.encoder is not None and epoch == 0:
            config = self.config
            path_aware.warm_up(self.encoder, self.G, images, config.code_penalty, config.warm_up_steps, self.rng)

    def set_learning_rate(self, remaining: float) -> None:
        """Lower all learning rates linearly; remaining: the share of the training that is still to come."""
        rate = self.config.learning_rate * remaining
        self.opt_G.param_groups[0]["lr"] = rate
        self.opt_D.param_groups[0]["lr"] = rate
        if self.encoder is not None:
            self.opt_E.param_groups[0]["lr"] = 10 * self.config.learning_rate * remaining

    def step(self, x: Tensor, number: int) -> dict[str, Tensor]:
        """One step of the critic on real images x (B, 1, 28, 28) and as many samples, then one of the generator.

        number: that of the step in the training; the generator's turn comes after every `critic_steps` of them.
        Returns the losses and their terms.
        """
        config = self.config
        losses = {}
        z = torch.randn(len(x), config.latent_dim, generator=self.rng, device=x.device)
        with autocast():
            real = random_shift(x, config.shift, self.rng)
            fake = random_shift(self.G(z), config.shift, self.rng)
            objective = self.critic_objective(real, fake.detach(), number, losses)
        take_step(objective, self.opt_D)
        if (number + 1) % config.critic_steps == 0:
            self.generator_step(x, fake, number // config.critic_steps, losses)
        return {name: value.detach() for name, value in losses.items()}

    def generator_step(self, x: Tensor, fake: Tensor, number: int, losses: dict[str, Tensor]) -> None:
        """One step of the generator on its samples (B, 1, 28, 28), the number-th of the training; losses are added.

        x: real images (B, 1, 28, 28), which only path-aware training uses.
        """
        config = self.config
        _, loss_of_generator = adversarial_losses(config.loss)
        with autocast():
            losses["generator"] = loss_of_generator(self.D(fake).float())
        objective = losses["generator"]
        if self.encoder is not None:  # path-aware training, chapter 8
            self.encoder_step(x, losses)
            if config.path_weight:
                objective = objective + config.path_weight * losses["path"]
            if config.energy_weight:
                objective = objective + config.energy_weight * losses["energy"]
            if config.inversion_weight:
                objective = objective + config.inversion_weight * losses["inversion"]
        take_step(objective, self.opt_G)
        update_average(self.G_ema, self.G, config.ema_decay, number)

    def critic_objective(self, real: Tensor, fake: Tensor, number: int, losses: dict[str, Tensor]) -> Tensor:
        """The critic's loss and its penalties, of images (B, 1, 28, 28); the terms join `losses`."""
        config = self.config
        real_scores, fake_scores = self.D(torch.cat([real, fake])).float().chunk(2)
        loss_of_critic, _ = adversarial_losses(config.loss)
        losses["critic"] = loss_of_critic(real_scores, fake_scores)
        objective = losses["critic"]
        if config.loss != "wgan":  # the sign of a Wasserstein critic's score means nothing
            losses["accuracy"] = ((real_scores > 0).float().mean() + (fake_scores < 0).float().mean()) / 2
        if config.penalty_weight:
            losses["penalty"] = gradient_penalty(self.D, real, fake.to(real.dtype), self.rng)
            objective = objective + config.penalty_weight * losses["penalty"]
        if config.r1_weight and number % config.r1_every == 0:
            losses["r1"] = r1_penalty(self.D, real)
            objective = objective + config.r1_weight / 2 * config.r1_every * losses["r1"]
        return objective

    def encoder_step(self, x: Tensor, losses: dict[str, Tensor]) -> None:
        """One step of the encoder on real images x, on the inversion loss + ν times the path or the energy loss.

        Both losses (the second only if it has a weight) join `losses`, for the generator's step.
        """
        config = self.config
        with autocast():
            codes = self.encoder(x)
            losses["inversion"] = path_aware.inversion_loss(self.G, codes, x, config.code_penalty)
            if config.path_weight or (config.encoder_path_weight and not config.energy_weight):
                losses["path"] = path_aware.path_loss(self.G, codes, x, self.rng)
        if config.energy_weight:
            losses["energy"] = path_aware.energy_loss(self.G, codes.float(), x)
        objective = losses["inversion"]
        if config.encoder_path_weight:
            of_paths = losses["energy" if config.energy_weight else "path"]
            objective = objective + config.encoder_path_weight * of_paths
        take_step(objective, self.opt_E, retain_graph=True)

    def scores(self, epoch: int) -> dict[str, float]:
        """What the history records of the samples' quality after this epoch, counted from 1, if anything."""
        config = self.config
        due = epoch % config.eval_every == 0 or epoch == config.epochs
        if config.num_eval_samples == 0 or not due:
            return {}
        classifier = evaluation.train_classifier(config.classifier).modules["classifier"]
        images = evaluation.sample(self.G_ema, config.num_eval_samples, config.seed)
        if epoch < config.epochs:
            return {"frechet": evaluation.frechet(images, classifier)}
        return evaluation.scores(images, classifier)


def train(config: GanConfig, name: str = "", base: store.Trained | None = None) -> store.Trained:
    """The model with this name and config (modules `config.keep`): loaded if stored, otherwise trained.

    name: by default that of the shipped model with this configuration, if there is one, otherwise "own". base: a
    trained model with a generator and a critic, whose training is continued. Raises ValueError if config.base names a
    base that is not given.
    """
    name = name or known_name(config)
    if base:
        config = replace(config, base=base_hash(base))
    elif config.base:
        raise ValueError("base in a configuration is set by `train`: pass the model, train(config, name, base=model).")
    images = data.mnist("train")[0][: config.images]
    with store.training(name, config, lambda: GAN(config, base)) as run:
        model = run.model
        for epoch in run.epochs():
            batches = shuffled_batches(len(images), config.batch_size, model.rng)
            model.begin_epoch(epoch, images)
            losses = defaultdict(list)
            for number, batch in enumerate(batches, start=epoch * len(batches)):
                model.set_learning_rate(1 - number / len(batches) / config.epochs)
                for key, value in model.step(images[batch], number).items():
                    losses[key].append(value)
            model.film.record(model.G_ema.eval(), epoch)
            means = {key: sum(values) / len(values) for key, values in losses.items()}
            run.log(means | model.scores(epoch + 1))
    return run.trained


def known_name(config: GanConfig) -> str:
    """The name in CONFIGS of a configuration, whatever its seed, or "own"."""
    for name, known in CONFIGS.items():
        if config_hash(replace(known, seed=config.seed)) == config_hash(config):
            return name
    return "own"


def base_hash(base: store.Trained) -> str:
    """What a configuration calls the model whose training it continues. Raises ValueError if it lacks a network."""
    if missing := sorted({"generator", "critic"} - base.modules.keys()):
        raise ValueError(f"base must have the modules generator and critic; it lacks {', '.join(missing)}.")
    return sha256(base.modules["generator"], base.modules["critic"])


def shuffled_batches(count: int, size: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """The numbers 0 to count − 1 in random order, in batches of `size`; an incomplete last batch is dropped."""
    order = torch.randperm(count, generator=rng, device=rng.device)
    return order.split(size)[: count // size]


def take_step(loss: Tensor, optimizer: torch.optim.Optimizer, retain_graph: bool = False) -> None:
    """One optimiser step on the loss; gradients are computed only for the parameters of this optimiser."""
    optimizer.zero_grad()
    loss.backward(inputs=optimizer.param_groups[0]["params"], retain_graph=retain_graph)
    optimizer.step()


@torch.no_grad()
def update_average(average: nn.Module, current: nn.Module, decay: float, updates: int) -> None:
    """Move the averaged weights and BatchNorm statistics towards the current ones, faster in the first updates."""
    share = 1 - min(decay, (1 + updates) / (10 + updates))
    latest = current.state_dict()
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(latest[name], share)


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
    base = train(WGAN_GP, "wgan-gp") if name == "path-aware" else None
    return train(CONFIGS[name], name, base).modules["generator"]
