"""The whole report at tiny size: all notebooks from nothing to PDF and page, which agree and hold what was asked."""

import re
import subprocess
import sys
from pathlib import Path

import execute
import merge
import pytest
from conftest import ROOT, Workshop

from helpers.show import references

pytestmark = pytest.mark.usefixtures("tex")
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory, tiny_models: Path) -> Workshop:
    """The real notebooks, at tiny parameters and without any shipped model."""
    workshop = Workshop(tmp_path_factory.mktemp("report"))
    workshop.build("--reduced", "--notebooks", str(NOTEBOOKS), MODELS=str(tiny_models))
    return workshop


@pytest.fixture(scope="module")
def page(reduced: Workshop) -> str:
    return reduced.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def aux(reduced: Workshop) -> str:
    return (reduced.folder / "build" / "report.aux").read_text(encoding="utf-8")


def test_every_question_is_answered_without_noise(reduced: Workshop) -> None:
    text = reduced.text()
    assert all(f"Answer to {question}." in text for question in merge.QUESTIONS)
    for noise in ("Traceback", r"interactive\(", r"\bnan\b(?! or infinity)", r"\?\?", "100%.*it/s", r"<\w+ at 0x"):
        assert not re.search(noise, text, re.IGNORECASE), noise
    assert "reduced run" in text and "full run" not in text


def test_a_notebook_converts_with_plain_nbconvert(reduced: Workshop, tmp_path: Path) -> None:
    """As a student would do it, without this report's templates."""
    for to in ("html", "pdf"):
        command = [sys.executable, "-m", "nbconvert", "--to", to, "--output-dir", tmp_path]
        subprocess.run([*command, reduced.folder / "build" / "06_inversion.ipynb"], check=True, capture_output=True)
    text = subprocess.run(["pdftotext", tmp_path / "06_inversion.pdf", "-"], capture_output=True, text=True).stdout
    assert "Answer to GAN-c." in text and "Lewis and Overton 2013" in text and "median loss, with BFGS" in text


def test_the_pdf_is_a4_and_has_title_author_and_bookmarks(reduced: Workshop) -> None:
    found = subprocess.run(["pdfinfo", reduced.pdf], capture_output=True, text=True, check=True).stdout
    assert re.search(r"(?m)^Title: +\S", found) and re.search(r"(?m)^Author: +\S", found) and "A4" in found
    outline = subprocess.run(["pdftohtml", "-xml", "-i", "-stdout", reduced.pdf], capture_output=True, text=True).stdout
    assert len(re.findall(r"<item page=.*>\d \w", outline)) == len(execute.find(NOTEBOOKS))


def test_the_page_has_the_numbers_of_the_pdf(page: str, aux: str) -> None:
    known = dict(re.findall(r"\\newlabel\{((?:fig|tab|sec)[^}@]*)\}\{\{([^}]+)\}", aux))
    figures = re.findall(r'<figure id="([^"]+)"(.*?)</figure>', page, re.DOTALL)
    shown = {label: found[1] for label, body in figures if (found := re.search(r"<b>(?:Figure|Table) (\d+)", body))}
    shown |= dict(re.findall(r'<h\d[^>]* id="([^"]+)"[^>]*><span class="number">([^<]+)<', page))
    assert len(known) > 50 and {label: shown.get(label) for label in known} == known


def test_the_notebooks_have_the_numbers_of_the_pdf(aux: str) -> None:
    if not references.NUMBERS.exists():
        pytest.skip("the notebooks have no numbers yet: run `make references`")
    known = dict(re.findall(r"\\newlabel\{((?:fig|tab|sec|eq)[^}@]*)\}\{\{([^}]+)\}", aux))
    numbers = {label: place.number for label, place in references.stored().items()}
    assert numbers == known, "run `make references`"


def test_no_figure_leaves_its_chapter(page: str, aux: str) -> None:
    chapters = set(re.findall(r'<h2 [^>]*?id="(sec-[^"]+)"', page))

    def homes(labels: list[str]) -> dict[str, str]:
        """For each figure and table the chapter in which it stands."""
        found, here = {}, ""
        for label in labels:
            here = label if label in chapters else here
            found |= {} if label.startswith("sec") else {label: here}
        return found

    wanted = homes(re.findall(r'<(?:figure|h2) [^>]*?id="((?:fig|tab|sec)-[^"]*)"', page))
    wanted.pop("fig-opening")  # it has no number
    assert wanted == homes(re.findall(r"\\newlabel\{((?:fig|tab|sec)-[^}@]*)\}", aux))  # in the order of the pages


def test_appendices_stand_behind_the_references(reduced: Workshop) -> None:
    text = reduced.text()
    titles = ("References", "A +Going further", "B +All numeric checks", "C +Reproducibility", "D +Notation")
    places = [re.search(rf"(?m)^ *{title} *$", text).start() for title in titles]
    assert places == sorted(places) and "Continues chapter" in text


def test_each_chapter_begins_a_page_whose_head_names_it(reduced: Workshop, aux: str) -> None:
    pages = [[line for line in page.split("\n") if line.strip()] for page in reduced.text().split("\f")]
    places = re.findall(r"\\newlabel\{sec-[^}@]*\}\{\{(\d)\}\{(\d+)\}", aux)
    assert len(places) == len(execute.find(NOTEBOOKS))
    for number, page in places:
        head, first = pages[int(page) - 1][:2]
        assert head.split()[0] == first.split()[0] == number, f"chapter {number} on page {page}"


def test_the_margin_has_the_number_of_every_check_that_passed(reduced: Workshop) -> None:
    main, listed = re.split(r"(?m)^ *B +All numeric checks *$", reduced.text())
    passed = re.findall(r"(?m)^ *(B\d+) .*✓ *$", listed)
    assert len(passed) > 30 and set(re.findall(r"\bB\d+\b", main)) == set(passed)
