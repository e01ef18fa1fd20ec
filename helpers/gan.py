"""The adversarial games: the hand-out's GAN, WGAN-GP, their variants and a path-aware GAN, with one training loop."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers import data, evaluation, store
from helpers.compute import device, products, require_count, require_nonnegative
from helpers.networks import Critic, build_generator
from helpers.path_terms import TERMS
from helpers.penalty import gradient_penalty, piecewise_linear_penalty
from helpers.training_film import Film

RECIPES: dict[str, dict] = {
    "gan": {"loss": "gan", "scored": 10_000},
    "wgan-gp": {"loss": "wgan-gp", "scored": 10_000},
    "path-aware": {
        "loss": "wgan-gp", "scored": 10_000, "epochs": 20, "learning_rate": 3e-4, "base_epochs": 100,
        "path_term": "ends", "path_weight": 20.0, "keep": "generator",
    },
}  # fmt: skip
SHORT = {"epochs": 8, "scored": 10_000, "keep": False}  # what an ablation changes, one setting at a time


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """BCE[D(x), 1] + BCE[D(G(z)), 0] from logits (B,) (Goodfellow et al. 2014, eq. 1)."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """BCE[D(G(z)), 1] from logits (B,): the non-saturating loss (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def saturating_loss(fake: Tensor) -> Tensor:
    """−BCE[D(G(z)), 0] from logits (B,): the minimax loss, whose gradient vanishes where D is sure."""
    return -F.softplus(fake).mean()


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """−(mean score of real − mean score of fake), from scores (B,) (Arjovsky et al. 2017, algorithm 1)."""
    return fake.mean() - real.mean()


def score_loss(fake: Tensor) -> Tensor:
    """−mean score of fake, from scores (B,): the generator's side of `critic_loss`."""
    return -fake.mean()


@dataclass(frozen=True)
class Game:
    """Both players' losses, Adam's β as the game's authors advise, the penalty's weight, the bound on D's weights."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    betas: tuple[float, float] = (0.5, 0.999)  # Radford et al. 2016
    penalty: float = 0.0
    clip: float = 0.0


GAMES = {
    "gan": Game(discriminator_loss, generator_loss),
    "saturating": Game(discriminator_loss, saturating_loss),
    "wgan-gp": Game(critic_loss, score_loss, (0.5, 0.9), penalty=10.0),  # Gulrajani et al. 2017, but for β₁ = 0.5
    "wgan-clip": Game(critic_loss, score_loss, (0.0, 0.99), clip=0.01),  # Arjovsky et al. 2017: no momentum
}


def train(
    name: str,
    loss: str,
    epochs: int = 100,
    seed: int = 0,
    generator: str = "conv",
    critic: tuple[int, ...] = (512, 256),
    batch: int = 128,
    latent_dim: int = 64,
    width: int = 256,
    channels: int = 16,
    learning_rate: float = 2e-4,
    decay: bool = True,
    betas: tuple[float, float] | None = None,
    average: float = 0.999,
    critic_steps: int = 1,
    penalty: float | None = None,
    images: int = 60_000,
    rounded: bool = False,
    path_term: str = "",
    path_weight: float = 0.0,
    base_epochs: int = 0,
    scored: int = 0,
    score_every: int = 5,
    judge: dict | None = None,
    keep: bool | str = True,
) -> store.Trained:
    """A trained GAN from the store, or trained now: modules "generator", "critic" and "film" (see `keep`).

    loss: a key of GAMES; betas and penalty (its weight) replace that game's. generator, width, channels: as for
    `build_generator`; critic: its hidden widths. An epoch shows the critic each image once; the generator moves after
    every `critic_steps` of its steps. decay: the learning rate falls linearly to 0, so its mean is half of it: the
    hand-out's 1e-4. The generator kept is the exponential moving average of the weights. rounded: as for
    `compute.products`. path_term, path_weight: a key of `path_terms.TERMS` and its weight in the generator's loss.
    base_epochs: start from the plain game of so many epochs and seed 0, with its BatchNorm frozen. scored: how many
    samples the history's scores use, every `score_every` epochs the Fréchet distance, at the end all; judge: changes to
    the classifier that scores. keep: True for all modules, False for none, or one module's name.
    Raises ValueError for an unknown loss, generator, path_term or keep, a term without weight or weight without term,
    a number out of its range, or a batch larger than the set.
    """
    if loss not in GAMES:
        raise ValueError(f"loss must be one of {', '.join(map(repr, GAMES))}, not {loss!r}.")
    require_count(
        epochs=epochs, batch=batch, images=images, latent_dim=latent_dim, width=width, channels=channels,
        critic_steps=critic_steps, score_every=score_every,
    )  # fmt: skip
    require_count(0, seed=seed, scored=scored, base_epochs=base_epochs)
    require_nonnegative(learning_rate=learning_rate, average=average, path_weight=path_weight, penalty=penalty or 0.0)
    if batch > images:
        raise ValueError(f"batch ({batch}) must not exceed images ({images}).")
    if path_term and path_term not in TERMS:
        raise ValueError(f"path_term must be '' or one of {', '.join(map(repr, TERMS))}, not {path_term!r}.")
    if bool(path_term) != (path_weight > 0):
        raise ValueError(f"path_term and a positive path_weight go together, not {path_term!r} and {path_weight}.")
    if keep not in (True, False, "generator", "critic", "film"):
        raise ValueError(f"keep must be True, False or one of 'generator', 'critic', 'film', not {keep!r}.")
    game = GAMES[loss]
    betas, penalty = tuple(betas or game.betas), game.penalty if penalty is None else penalty
    sizes = {
        "generator": generator, "critic": list(critic), "batch": batch, "latent_dim": latent_dim, "width": width,
        "channels": channels, "images": images, "seed": seed, "scored": scored, "score_every": score_every,
        "judge": judge or {},
    }  # fmt: skip
    config = sizes | {
        "loss": loss, "epochs": epochs, "learning_rate": learning_rate, "decay": decay, "betas": list(betas),
        "average": average, "critic_steps": critic_steps, "penalty": penalty, "clip": game.clip,
        "path_weight": path_weight, "base_epochs": base_epochs, "keep": keep,
    }  # fmt: skip
    config |= {"rounded": True} if rounded else {}
    config |= {"path_term": path_term} if path_term else {}
    base = train(loss, loss, base_epochs, **sizes | {"seed": 0}).modules if base_epochs else {}

    def start() -> store.Training:
        G = build_generator(generator, latent_dim, width, channels).to(device(), memory_format=torch.channels_last)
        networks = {"generator": copy.deepcopy(G), "critic": Critic(tuple(critic)), "film": Film(latent_dim, epochs)}
        for key, network in networks.items():
            network.to(device())
            if base and key != "film":
                network.load_state_dict(base[key].state_dict())
        if base:
            G.load_state_dict(base["generator"].state_dict())
            networks["film"].z.copy_(base["film"].z)
        term = {"term": TERMS[path_term](latent_dim).to(device())} if path_term else {}
        optimizers = {
            "trainee": torch.optim.Adam(G.parameters(), learning_rate, betas, fused=True),
            "critic": torch.optim.Adam(networks["critic"].parameters(), learning_rate, betas, fused=True),
        }
        if path_term and list(term["term"].parameters()):
            optimizers["term"] = torch.optim.Adam(term["term"].parameters(), 2 * learning_rate)
        kept = networks if keep is True else {keep: networks[keep]} if keep else {}
        return store.Training(
            kept,
            {"trainee": G} | term | {key: network for key, network in networks.items() if key not in kept},
            optimizers,
            torch.Generator(device()).manual_seed(seed),
        )

    return store.load_or_train(name, config, start, lambda training, epoch: _epoch(training, epoch, config))


def _epoch(training: store.Training, epoch: int, config: dict) -> dict[str, float]:
    """One pass over the images, a critic step for each batch and a generator step after every `critic_steps`."""
    real_images = data.mnist("train")[0][: config["images"]]
    networks, rng, game = training.networks(), training.generator, GAMES[config["loss"]]
    G, D, average = networks["trainee"], networks["critic"], networks["generator"]
    penalty_of = piecewise_linear_penalty if isinstance(D, Critic) else gradient_penalty
    batches = torch.randperm(len(real_images), generator=rng, device=device()).split(config["batch"])
    batches = [batch for batch in batches if len(batch) == config["batch"]]
    if config["base_epochs"]:
        G.eval()  # the function trained is then the very one that is used: no batch statistics
    rounded, term = config.get("rounded", False), networks.get("term")
    if term:
        term.begin(G, real_images, epoch, rng)
    totals, nought = torch.zeros(5, device=device()), torch.zeros((), device=device())
    for step, batch in enumerate(batches):
        done = epoch * len(batches) + step
        for key in ("trainee", "critic"):
            rate = 1 - done / len(batches) / config["epochs"] if config["decay"] else 1.0
            training.optimizers[key].param_groups[0]["lr"] = config["learning_rate"] * rate
        x = real_images[batch]
        z = torch.randn(len(x), config["latent_dim"], generator=rng, device=device())
        moves = (done + 1) % config["critic_steps"] == 0
        with products(rounded), torch.set_grad_enabled(moves):
            fakes = G(z)  # shared: the critic learns from the images through which the generator then moves

        D.requires_grad_(True)
        with products(rounded):
            real, fake = D(torch.cat([x, fakes.detach()])).float().chunk(2)
            penalty = penalty_of(D, x, fakes.to(x.dtype), rng) if config["penalty"] else nought
            loss = game.critic(real, fake)
        _step([training.optimizers["critic"]], loss + config["penalty"] * penalty)
        if config["clip"]:
            for weight in D.parameters():
                weight.data.clamp_(-config["clip"], config["clip"])
        right = ((real > 0).float().mean() + (fake < 0).float().mean()) / 2
        totals[:3] += torch.stack([loss.detach(), penalty.detach(), right])
        if not moves:
            continue

        D.requires_grad_(False)  # the generator's step needs no gradient of the critic's weights
        with products(rounded):
            loss = game.generator(D(fakes).float())
            excess = term(G, z, fakes.detach(), x, rng) if term else nought
        _step(
            [training.optimizers[key] for key in ("trainee", "term") if key in training.optimizers],
            loss + config["path_weight"] * excess,
        )
        totals[3:] += config["critic_steps"] * torch.stack([loss.detach(), excess.detach()])
        moved = done // config["critic_steps"]
        _move_average(average, G, min(config["average"], (1 + moved) / (10 + moved)))
    names = ("critic", "penalty", "accuracy", "generator", "excess")
    losses = dict(zip(names, (totals / len(batches)).tolist(), strict=True))
    average.eval()
    networks["film"].shoot(average, epoch)
    return losses | _score(training, epoch, config)


def _score(training: store.Training, epoch: int, config: dict) -> dict[str, float]:
    """The scores that the history records after this epoch, if any."""
    last, networks = epoch + 1 == config["epochs"], training.networks()
    if not config["scored"] or not (last or (epoch + 1) % config["score_every"] == 0):
        return {}
    judge = evaluation.train_classifier(**config["judge"]).modules["classifier"]
    made = evaluation.sample(networks["generator"], config["scored"], config["seed"])
    if not last:
        return {"frechet": evaluation.frechet(made, judge)}
    raw = evaluation.frechet(evaluation.sample(networks["trainee"].eval(), config["scored"], config["seed"]), judge)
    return evaluation.scores(made, judge) | {"frechet_raw": raw}


def _step(optimizers: list[torch.optim.Optimizer], loss: Tensor) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


@torch.no_grad()
def _move_average(average: nn.Module, current: nn.Module, decay: float) -> None:
    """Move the averaged weights and the averaged BatchNorm statistics towards the current ones."""
    mine = [t for t in average.state_dict().values() if t.is_floating_point()]
    theirs = [t for t in current.state_dict().values() if t.is_floating_point()]
    torch._foreach_lerp_(mine, theirs, 1 - decay)
