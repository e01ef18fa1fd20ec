"""The original MNIST, read from the four gzipped files in `data/`; nothing is downloaded here (see `helpers.fetch`)."""

import functools
import gzip
import hashlib
import shutil
import tempfile
import zlib
from pathlib import Path

from torch import Tensor
from torchvision import datasets

from helpers.compute import device

DATA = Path(__file__).resolve().parent.parent / "data"
RAW_MD5 = {  # of the unpacked bytes: gzip streams of the same bytes differ
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class _LocalMNIST(datasets.MNIST):
    """torchvision's reader for the files in `data/`, whose contents `verify` knows, and with no mirror to go to."""

    mirrors = [DATA.as_uri() + "/"]
    resources = [(f"{name}.gz", None) for name in RAW_MD5]


def verify(folder: Path = DATA) -> None:
    """Raise RuntimeError with one sentence if an MNIST file is missing or not the original, bit for bit."""
    for name, md5 in RAW_MD5.items():
        path = folder / f"{name}.gz"
        if not path.is_file():
            raise RuntimeError(
                f"{path} is missing: restore it with `git checkout -- data`, or fetch it with `make setup`."
            )
        if _raw_md5(path) != md5:
            raise RuntimeError(
                f"{path} is damaged (the MD5 of its contents is not {md5}): restore it with `git checkout -- data`, or "
                "delete it and fetch it with `make setup`."
            )


def _raw_md5(path: Path) -> str:
    """MD5 of what a gzip file holds, "" if it cannot be unpacked."""
    try:
        with gzip.open(path) as raw:
            return hashlib.file_digest(raw, "md5").hexdigest()
    except (OSError, EOFError, zlib.error):
        return ""


@functools.cache
def mnist(split: str) -> tuple[Tensor, Tensor]:
    """The whole `split` ("train": N = 60 000, "test": N = 10 000) on the device.

    Returns images (N, 1, 28, 28), float32 in [−1, 1] (a tanh generator's range), and labels (N,), int64.
    The pair is shared by all callers: do not write into it.
    Raises ValueError for another split, RuntimeError for a missing or damaged file.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    verify()
    with tempfile.TemporaryDirectory() as root:  # unpacked aside: the checkout may be read-only
        unpacked = Path(root, "_LocalMNIST", "raw")
        unpacked.mkdir(parents=True)
        for name, _ in _LocalMNIST.resources:
            shutil.copyfile(DATA / name, unpacked / name)
        raw = _LocalMNIST(root, train=split == "train", download=True)
    images = raw.data.unsqueeze(1).float().div_(127.5).sub_(1.0)
    return images.to(device()), raw.targets.to(device())
