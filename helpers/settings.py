"""Settings that make no sense are refused in a sentence, before anything is trained with them."""

import math
from numbers import Integral, Real


def check_whole(least: int = 1, **settings: int) -> None:
    """Raise ValueError unless each setting is a whole number of at least `least`."""
    for name, value in settings.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}.")


def check_numbers(least: float = 0.0, **settings: float) -> None:
    """Raise ValueError unless each setting is a finite number of at least `least`."""
    for name, value in settings.items():
        if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value) or value < least:
            raise ValueError(f"{name} must be a number of at least {least:g}, not {value!r}.")
