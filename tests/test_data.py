"""The data set is the original, whole, and refused when it is not."""

import shutil

import pytest
import torch

from helpers import data

LABELS = "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(("split", "count", "first"), [("train", 60_000, [5, 0, 4]), ("test", 10_000, [7, 2, 1])])
def test_images_and_labels(split, count, first):
    images, labels = data.mnist(split)
    assert images.shape == (count, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert labels[:3].tolist() == first and labels.shape == (count,) and labels.dtype == torch.int64


def test_readme_states_the_checksums_and_another_split_is_refused():
    assert all(md5 in (data.DATA / "README.md").read_text() for md5 in data.RAW_MD5.values())
    with pytest.raises(ValueError, match="'train' or 'test'"):
        data.mnist("validation")


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:2000] + b"!" + path.read_bytes()[2001:]),
    "swapped": lambda path: shutil.copy(data.DATA / "train-labels-idx1-ubyte.gz", path),
    "no gzip": lambda path: path.write_bytes(b"labels"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused(tmp_path, damage):
    path = tmp_path / f"{LABELS}.gz"
    shutil.copy(data.DATA / path.name, path)
    assert data.unpack(LABELS, tmp_path)
    DAMAGES[damage](path)
    with pytest.raises(RuntimeError, match="t10k-labels.*(missing|damaged).*git checkout"):
        data.unpack(LABELS, tmp_path)


def unpack_all(folder):
    """A source of `fetch` that needs no network."""
    for name in data.RAW_MD5:
        (folder / name).write_bytes(data.unpack(name))


def spoil(folder):
    unpack_all(folder)
    (folder / LABELS).write_bytes(b"no labels")


def fail(folder):
    raise OSError("no route to host")


def test_missing_files_are_fetched_from_the_first_source_that_has_the_originals(tmp_path):
    kept = tmp_path / "train-images-idx3-ubyte.gz"
    shutil.copy(data.DATA / kept.name, kept)
    before = kept.stat().st_mtime_ns
    assert len(data.fetch(tmp_path, (fail, spoil, unpack_all))) == 3
    assert all(data.unpack(name, tmp_path) for name in data.RAW_MD5)
    assert kept.stat().st_mtime_ns == before and data.fetch(tmp_path, (fail,)) == []


def test_a_failed_fetch_says_what_to_do_and_writes_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="fail: no route to host; spoil: t10k-labels.*not the original.*README"):
        data.fetch(tmp_path, (fail, spoil))
    assert list(tmp_path.iterdir()) == []
