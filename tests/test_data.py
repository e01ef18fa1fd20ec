"""The data set is the original, whole, and refused when it is not."""

import gzip
import hashlib
import shutil

import pytest
import torch

from helpers import data, fetch


@pytest.mark.parametrize("name", data.RAW_MD5)
def test_raw_bytes_are_the_original(name):
    raw = gzip.decompress((data.DATA / f"{name}.gz").read_bytes())
    assert hashlib.md5(raw).hexdigest() == data.RAW_MD5[name]
    assert data.RAW_MD5[name] in (data.DATA / "README.md").read_text()


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


def unpack(folder):
    """A source of `fetch` that needs no network."""
    for name in data.RAW_MD5:
        (folder / name).write_bytes(gzip.decompress((data.DATA / f"{name}.gz").read_bytes()))


def spoil(folder):
    unpack(folder)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"no labels")


def fail(folder):
    raise OSError("no route to host")


def test_missing_files_are_fetched_from_the_first_source_that_has_the_originals(tmp_path):
    kept = tmp_path / "train-images-idx3-ubyte.gz"
    shutil.copy(data.DATA / kept.name, kept)
    before = kept.stat().st_mtime_ns
    assert len(fetch.fetch(tmp_path, (fail, spoil, unpack))) == 3
    data.verify(tmp_path)
    assert kept.stat().st_mtime_ns == before and fetch.fetch(tmp_path, (fail,)) == []


def test_a_failed_fetch_says_what_to_do_and_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="fail: no route to host; spoil: t10k-labels.*not the original.*README"):
        fetch.fetch(tmp_path, (fail, spoil))
    assert list(tmp_path.iterdir()) == []
