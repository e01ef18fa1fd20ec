"""The data set is the original, whole, and refused when it is not."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import data, evaluation
from helpers.compute import device

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


def fail_silently(folder):
    raise TimeoutError


def test_missing_files_are_fetched_from_the_first_source_that_has_the_originals(tmp_path):
    kept = tmp_path / "train-images-idx3-ubyte.gz"
    shutil.copy(data.DATA / kept.name, kept)
    before = kept.stat().st_mtime_ns
    assert len(data.fetch(tmp_path, (fail, fail_silently, spoil, unpack_all))) == 3
    assert all(data.unpack(name, tmp_path) for name in data.RAW_MD5)
    assert kept.stat().st_mtime_ns == before and data.fetch(tmp_path, (fail,)) == []


def test_a_failed_fetch_says_what_to_do_and_writes_nothing(tmp_path):
    with pytest.raises(
        RuntimeError, match="fail: no route to host; fail silently: TimeoutError; spoil: t10k.*not.*README"
    ):
        data.fetch(tmp_path, (fail, fail_silently, spoil))
    assert list(tmp_path.iterdir()) == []


def drawn(digit, side=220, left=60, top=25, size=(340, 300)):
    """An MNIST digit (28, 28) drawn large, dark on white, off the centre: a picture of greys."""
    grey = Image.fromarray(((1 - digit.cpu().numpy()) * 127.5).round().astype(np.uint8))
    paper = Image.new("L", size, "white")
    paper.paste(grey.resize((side, side), Image.Resampling.BICUBIC), (left, top))
    return paper


def test_a_digit_drawn_large_and_dark_on_white_is_read_as_mnist_shows_it(tmp_path):
    images, labels = (part[:100] for part in data.mnist("test"))
    read = []
    for image in images:
        drawn(image[0]).save(tmp_path / "digit.png")
        read.append(data.load_digit(tmp_path / "digit.png"))
    read = torch.cat(read)
    assert read.shape == images.shape and read.dtype == torch.float32 and read.device.type == device().type
    assert read.min() == -1 and read.max() == 1
    distance = (read - images).square().sum((1, 2, 3)).sqrt()
    apart = (images - images.roll(1, 0)).square().sum((1, 2, 3)).sqrt()
    assert distance.mean() < 0.25 * apart.mean() and (distance < 0.6 * apart.mean()).all()  # at worst a pixel's shift
    classifier = evaluation.train_classifier().modules["classifier"]
    assert (classifier(read).argmax(1) == labels).float().mean() >= 0.95


def transparent(grey):
    """Black ink of the drawing on a transparent sheet."""
    sheet = Image.new("RGBA", grey.size, (0, 0, 0, 0))
    sheet.putalpha(Image.eval(grey, lambda value: 255 - value))
    return sheet


def white_on_transparent(grey):
    sheet = Image.new("RGBA", grey.size, (255, 255, 255, 0))
    sheet.putalpha(Image.eval(grey, lambda value: 255 - value))
    return sheet


def sixteen_bits(grey):
    return Image.fromarray(np.array(grey).astype(np.uint16) * 257)


def coloured(grey):
    """Dark blue ink on yellow paper."""
    return Image.merge("RGB", [grey, grey, Image.eval(grey, lambda value: 128 - value // 4)])


FORMS = {
    "light on dark": lambda grey: Image.eval(grey, lambda value: 255 - value),
    "faint": lambda grey: Image.eval(grey, lambda value: 128 + value // 2),
    "in colour": coloured,
    "palette": lambda grey: grey.convert("P"),
    "transparent": transparent,
    "white on transparent": white_on_transparent,
    "sixteen bits": sixteen_bits,
    "one quarter": lambda grey: grey.resize((85, 75)),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_the_picture_does_not_matter(tmp_path, form):
    digit = data.mnist("test")[0][0, 0]
    drawn(digit).save(tmp_path / "digit.png")
    FORMS[form](drawn(digit)).save(tmp_path / "form.png")
    plain, other = data.load_digit(tmp_path / "digit.png"), data.load_digit(tmp_path / "form.png")
    assert (plain - other).square().sum().sqrt() < 3


def test_a_tall_picture_a_jpeg_and_a_single_pixel_are_read(tmp_path):
    bar = Image.new("L", (50, 400), "white")
    bar.paste("black", (20, 40, 30, 360))
    bar.save(tmp_path / "bar.jpg")
    found = data.load_digit(tmp_path / "bar.jpg")[0, 0] > 0
    assert found.any(1).sum() == 20 and found.any(0).sum() <= 2
    dot = Image.new("L", (9, 9), "white")
    dot.putpixel((3, 3), 0)
    dot.save(tmp_path / "dot.png")
    assert (data.load_digit(tmp_path / "dot.png") == 1).sum() == 400


def test_a_picture_without_a_digit_is_refused_in_a_sentence(tmp_path):
    Image.new("RGB", (40, 30), "white").save(tmp_path / "blank.png")
    with pytest.raises(ValueError, match="blank.png shows no digit"):
        data.load_digit(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("seven")
    (tmp_path / "cut.png").write_bytes((tmp_path / "blank.png").read_bytes()[:60])
    for name in ("text.png", "cut.png", "absent.png"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a picture .*: give a PNG or JPEG file"):
            data.load_digit(tmp_path / name)
