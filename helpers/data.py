"""The original MNIST, read from the four gzipped files in `data/`; nothing is ever downloaded."""

import functools
import shutil
import tempfile
from pathlib import Path

from torch import Tensor
from torchvision import datasets
from torchvision.datasets.utils import check_md5

from helpers.device import device

DATA = Path(__file__).resolve().parent.parent / "data"


class _LocalMNIST(datasets.MNIST):
    """torchvision's reader with the checksums of the gzip streams in `data/` and no mirror to download from."""

    mirrors = [DATA.as_uri() + "/"]
    resources = [
        ("train-images-idx3-ubyte.gz", "1d473e58ef44e25f798984071547abb4"),
        ("train-labels-idx1-ubyte.gz", "1609bf896b655359423ad367a6da51b2"),
        ("t10k-images-idx3-ubyte.gz", "78e7617d39dd0f4605369b825dfce8e6"),
        ("t10k-labels-idx1-ubyte.gz", "ef198d564bed981685c30c7da017ac89"),
    ]


def verify(folder: Path = DATA) -> None:
    """Raise RuntimeError with one sentence if an MNIST file is missing or not the original, bit for bit."""
    for name, md5 in _LocalMNIST.resources:
        path = folder / name
        if not path.is_file():
            raise RuntimeError(f"{path} is missing: restore it with `git checkout -- data` (nothing is downloaded).")
        if not check_md5(str(path), md5):
            raise RuntimeError(f"{path} is damaged (its MD5 is not {md5}): restore it with `git checkout -- data`.")


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
