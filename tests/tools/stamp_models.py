"""Write the hashes of the present code and data into the records of the shipped models.

Loading a model says so if losses, networks or training step have changed since it was trained. After a change that
leaves every number as it was, which tests/test_models.py shows for two steps of each kind of training, run
`python tests/tools/stamp_models.py`.
"""

from pathlib import Path
from typing import Any

import torch

from helpers import store
from helpers.beta_vae import Sweep, SweepConfig, pixels
from helpers.evaluation import ClassifierConfig, ClassifierTraining
from helpers.files import ROOT, write_atomically
from helpers.gan import GAN, GanConfig
from helpers.provenance import origin

KINDS = {
    "GanConfig": lambda settings: GAN(GanConfig(**settings)),
    "SweepConfig": lambda settings: Sweep(SweepConfig(**settings), pixels("train")[:100]),
    "ClassifierConfig": lambda settings: ClassifierTraining(ClassifierConfig(**settings)),
}


def model_of(record: dict) -> Any:
    """The untrained model of a record's configuration, or None if it is no training of networks (an inversion)."""
    return KINDS[record["kind"]](record["config"]) if record["kind"] in KINDS else None


def stamp(path: Path) -> bool:
    """Write the present hashes into a model's record; whether they had changed."""
    record, tensors = store.read(path)
    model = model_of(record)
    present = origin(model) if model else {}
    if record | present == record:
        return False
    history = record.pop("history")  # at the end, as it is the longest
    write_atomically(path, store.packed(record | present | {"history": history}, tensors))
    return True


if __name__ == "__main__":
    with torch.random.fork_rng():
        paths = sorted((ROOT / "data" / "models").glob("*.safetensors"))
        print(f"{sum(map(stamp, paths))} of {len(paths)} records were changed.")
