"""The data set is the original, whole, and refused when it is not."""

import gzip
import hashlib
import shutil

import pytest
import torch

from helpers import data

RAW_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", RAW_MD5)
def test_raw_bytes_are_the_original(name):
    raw = gzip.decompress((data.DATA / f"{name}.gz").read_bytes())
    assert hashlib.md5(raw).hexdigest() == RAW_MD5[name]
    assert RAW_MD5[name] in (data.DATA / "README.md").read_text()


@pytest.mark.parametrize(("split", "count", "first"), [("train", 60_000, [5, 0, 4]), ("test", 10_000, [7, 2, 1])])
def test_images_and_labels(split, count, first):
    images, labels = data.mnist(split)
    assert images.shape == (count, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert labels[:3].tolist() == first


def test_unknown_split():
    with pytest.raises(ValueError, match="'train' or 'test'"):
        data.mnist("validation")


@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped", "swapped"])
def test_damaged_files_are_refused(tmp_path, damage):
    for name, _ in data._LocalMNIST.resources:
        shutil.copy(data.DATA / name, tmp_path / name)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        content[2000] ^= 1
        path.write_bytes(content)
    else:
        shutil.copy(tmp_path / "train-labels-idx1-ubyte.gz", path)
    with pytest.raises(RuntimeError, match="t10k-labels.*(missing|damaged).*git checkout"):
        data.verify(tmp_path)
