"""Trained generators by their names."""

from torch import nn

from helpers import gan


def load_generator(name: str) -> nn.Module:
    """The generator shipped as "gan", "wgan-gp" or "path-aware": in eval mode, gradients to its weights off.

    It has `.latent_dim` and maps (B, latent_dim) to (B, 1, 28, 28) in [−1, 1]; it is trained if the store lacks it.
    Raises ValueError for another name.
    """
    if name not in gan.RECIPES:
        raise ValueError(f"no generator {name!r}: choose one of {', '.join(map(repr, gan.RECIPES))}.")
    return gan.train(name, **gan.RECIPES[name]).modules["generator"]
