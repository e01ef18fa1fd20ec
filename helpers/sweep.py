"""Many trainings by one call: here one after the other, or spread over the workers of a Dask scheduler."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import joblib

from helpers.store import Trained

PATIENCE = 10  # seconds for a scheduler to answer


def train_all(train: Callable[..., Trained], settings: Sequence[dict]) -> list[Trained]:
    """[train(**s) for s in settings], for a `train` that uses the store, such as `gan.train` or `vae.train`.

    $SCHEDULER: address of a Dask scheduler (tcp://host:port), whose workers train what is missing into the store, which
    must be the same folder for them and with as many threads gives the same numbers; what a lost worker had begun is
    done again, from its last checkpoint. Without it everything happens in this process. Raises OSError if no scheduler
    answers.
    """
    if address := os.environ.get("SCHEDULER"):
        with _workers(address):
            joblib.Parallel()(joblib.delayed(_only_train)(train, setting) for setting in settings)
    return [train(**setting) for setting in settings]


def _only_train(train: Callable[..., Trained], setting: dict) -> None:
    """Models travel by the store, never by the network."""
    train(**setting)


@contextlib.contextmanager
def _workers(address: str) -> Iterator[None]:
    try:
        from distributed import Client
    except ImportError:
        raise ModuleNotFoundError(
            f"SCHEDULER={address} needs Dask: pip install 'dask[distributed]', or unset SCHEDULER."
        ) from None
    with Client(address, timeout=PATIENCE), joblib.parallel_config("dask"):
        yield
