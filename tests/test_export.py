"""The page in a real browser: complete in itself, its formulas those of the TeX, films that move by keys; and what no
export accepts."""

import contextlib
import io
import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import export
import lab
import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Workshop, skip_without, wait_for
from errors import BuildError
from nbformat import NotebookNode
from PIL import Image

from helpers.show import publish

CELLS = (
    r"""publish.say(r'''## RD-a: sound

The [figure](#fig-line), the [table](#tab-one), the [equation](#eq:one) and \eqref{eq:two} agree with
[Kingma & Welling 2014](#cite-kingma2014), as $β \to 0$:

$$\int_0^1 \sqrt{\frac{x}{2}}\,\mathrm dx \ge -1 . \label{eq:one}$$

1. counted

\begin{align} a &= \sqrt[3]{b} \label{eq:two}\\ c &= d < \tfrac12 \end{align}

and wide: $$"""
    + " + ".join(f"x_{{{k}}}" for k in range(80))
    + r"""$$''')""",
    "publish.answer('RD-a', 'It is $x^2$. More.', '$x = 2$')",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\n"
    "publish.figure(fig, 'fig-line', 'It rises *slowly* & surely.')",
    "import pandas as pd\nframe = pd.DataFrame({str(k): [1.5, -0.25] for k in range(40)}, index=['p', 'q'])\n"
    "publish.table(frame, 'tab-one', 'Few numbers.')",
    "publish.check('one is one', 1, 1, 1e-9)\npublish.check_interval('a half is small', 0.5, 0, 0.634)",
    "import torch\nimages = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 28, 28)\n"
    "publish.film({'up': images, 'down': images.flip(0)}, 'From black to white.', axis='step', still='fig-line')",
    "%matplotlib inline\nfig, ax = plt.subplots()\nax.plot([2, 1])\npublish.figure(fig, 'fig-opening', 'It falls.')",
    "def double(x):\n    return 2 * x\n\n\npublish.check('doubled', double(2), 4, 1e-9)",
)
LINKS = [
    '#fig-line">Figure\u00a01</a>', '#tab-one">table\u00a01</a>', '#cite-kingma2014">Kingma and Welling (2014)</a>',
    '<span class="number">1.1</span> RD-a: sound', "<b>Table 1.</b>", 'alt="It rises slowly &amp; surely."',
    "one is one: 1 (expected 1); a half is small: 0.5 (expected [0, 0.634]).</li>", "[0, 0.634]</td>",
    'id="cite-kingma2014"', 'href="#answer-RD-a"', 'id="answer-RD-a"',
    "<strong>Answer to RD-a.</strong> <strong>Yes.</strong> It is", "doubled: 4 (expected 4).</li>",
    '<b>Film 1.</b> <a href="#fig-line">Figure\u00a01</a> in motion. From black to white.',
    '<a href="#film-1">Film 1</a> shows it in motion.</figcaption>', 'id="film-1"',
    "<figcaption>It falls.</figcaption>",
    '<a href="#eq:one">equation\u00a0(1)</a> and <a href="#eq:two">(2)</a> agree', 'id="eq:one"', 'id="eq:two"',
    '<th scope="row"><a href="#answer-RD-a">RD-a</a> <span class="printed">section 1.1</span></th>',
]  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Page and, where there is LaTeX, PDF of one small notebook."""
    skip_without("pandoc")
    workshop = Workshop(tmp_path_factory.mktemp("page"))
    path, text = workshop.write("01_small", *CELLS), nbformat.v4.new_markdown_cell
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-2].metadata.tags, notebook.cells[-1].metadata.tags = ["opening"], ["show"]
    question = [("> **RD-a.** What?", "question"), ("> **Yes.**", "verdict")]
    notebook.cells[3:3] = [text(words, metadata={"tags": [tag]}) for words, tag in question]
    nbformat.write(notebook, path)
    workshop.build(*([] if shutil.which("xelatex") else ["--page"]))
    return workshop


@pytest.fixture(scope="module")
def body(built: Workshop) -> str:
    return built.page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tab(built: Workshop, chromium: None) -> Iterator[lab.Page]:
    """The page in headless Chromium without network, and what the browser complained of."""
    with lab.browser(1200, 900, device_scale_factor=4, offline=True) as opened:
        opened.complaints = []
        opened.on("console", lambda message: opened.complaints.append(message.text))
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.on("request", lambda asked: asked.url.startswith("http") and opened.complaints.append(asked.url))
        opened.goto(built.page.as_uri())
        yield opened


def ink(locator: lab.Locator) -> np.ndarray:
    """How dark each pixel is, 0 to 1."""
    return 1 - lab.pixels(locator) / 255


def test_the_page_needs_no_other_file(body: str, tab: lab.Page) -> None:
    outside = re.sub(r"(?s)<script>.*?</script>", "", body)
    assert not re.findall(r'\bsrc="(?!data:)|<link[^>]*href="(?!data:)|@import|url\((?!data:)', outside)
    assert '<html lang="en-GB">' in body and '<meta name="author"' in body and tab.complaints == []


@pytest.mark.parametrize("part", LINKS)
def test_figures_tables_sections_and_sources_are_numbered_links(body: str, part: str) -> None:
    assert part in body


def test_the_opening_picture_stands_between_the_answers_and_the_contents(body: str) -> None:
    places = [body.index(words) for words in ("Answers at a glance", 'id="fig-opening"', ">Contents<", 'id="fig-line"')]
    assert places == sorted(places) and body.count("It falls.") == 1
    assert body.count(publish.ALTERNATIVES["fig-opening"]) == 1, "for those who do not see it"


def test_code_is_printed_without_the_statements_that_only_publish(built: Workshop, body: str) -> None:
    text = re.sub("<[^>]+>", "", body)
    assert "return 2 * x\n" in text and "publish.check(" not in text
    assert export.printed("a = 1\n\npublish.figure(\n    fig\n)\npublish.say(a)") == "a = 1"
    assert export.printed("%time a()") == "%time a()" and export.printed("publish.source(a)") == ""


@pytest.mark.usefixtures("tex")
def test_the_pdf_has_the_opening_picture_and_says_which_figure_moves(built: Workshop) -> None:
    text = " ".join(built.text().split())
    places = [
        text.index(words) for words in ("Answers at a glance", "It falls.", "Contents", "RD-a. What?", "Yes. It is")
    ]
    assert places == sorted(places) and "Figure 1. It rises slowly & surely. (Animated in HTML.)" in text


@pytest.mark.usefixtures("tex")
def test_a_line_of_76_characters_of_code_fits_and_is_set_in_8_points(built: Workshop, workshop: Workshop) -> None:
    code = nbformat.v4.new_code_cell("x" * 40 + " = '" + "0" * 31 + "'", metadata={"tags": ["show"]})
    whole = workshop.merged("")
    whole.cells.insert(1, code)
    pdf, _ = export.make_pdf(export.write_latex(whole, workshop.folder))
    command = ["pdftotext", "-bbox", pdf, "-"]
    words = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
    left, right = map(float, re.search(r'xMin="([\d.]+)"[^>]*xMax="([\d.]+)"[^>]*>x{40}<', words).groups())
    (end,) = re.findall(r'xMax="([\d.]+)"[^>]*>.{1,6}0{31}.{1,6}<', words)
    size = (right - left) / 40 / 0.602  # DejaVu's width of a character
    assert size == pytest.approx(8 * 72 / 72.27, rel=0.01) and float(end) < 595 - 67


def test_formulas_are_those_of_the_tex(built: Workshop, body: str, tab) -> None:
    """As many roots, fractions and numbers as in LaTeX, each formula with ink, none of them left as TeX."""
    tex = (built.folder / "build" / "report.tex").read_text(encoding="utf-8").partition(r"\begin{document}")[2]
    shown = re.sub(r"(?s)<annotation.*?</annotation>|<(script|style)>.*?</\1>", "", body)
    inside = {name: tab.locator(f"math {name}").count() for name in ("msqrt", "mroot", "mfrac", "merror")}
    assert not re.search(r"\\[a-zA-Z]|\$", re.sub(r"<[^>]+>", "", shown)) and inside["merror"] == 0
    assert inside["msqrt"] + inside["mroot"] == len(re.findall(r"\\sqrt", tex)) == 2
    assert inside["mfrac"] == len(re.findall(r"\\[td]?frac", tex)) == 2
    assert all(ink(formula).max() > 0.5 for formula in tab.locator("math").all())
    aux = (built.folder / "build" / "report.aux").read_text(encoding="utf-8")
    known = dict(re.findall(r"\\newlabel\{(eq:[^}]*)\}\{\{([^}]+)\}", aux))
    assert known == {"eq:one": "1", "eq:two": "2"}
    assert tab.locator(".display[id='eq:one'] .tag").text_content() == "(1)"
    assert tab.locator(".display[id='eq:two'] mtext").all_text_contents() == ["(2)", "(3)"]


def test_the_font_of_formulas_is_that_of_the_pdf(body: str, tab) -> None:
    skip_without("kpsewhich")
    assert body.count("@font-face") == 5
    tab.evaluate("document.fonts.ready")
    loaded = "[...document.fonts].filter(font => font.status == 'loaded').map(font => font.family)"
    assert any("Math" in family for family in tab.evaluate(loaded))


def test_the_font_has_the_signs_that_the_text_of_formulas_lacks(tab) -> None:
    for root in tab.locator("msqrt, mroot").all():
        inner = root.locator("xpath=*[1]").bounding_box()
        assert root.bounding_box()["width"] > inner["width"] + 4, "the sign of a root stands before what it holds"


def test_the_number_of_an_equation_is_at_the_right_edge_of_the_text(tab) -> None:
    for width in (1200, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        right = [
            tab.locator(box).last.bounding_box() for box in ("main > p", ".display[id='eq:one'] .tag", ".rows mtable")
        ]
        ends = [box["x"] + box["width"] for box in right]
        assert max(ends) - min(ends) < 2, width
    tab.set_viewport_size({"width": 1200, "height": 900})


def test_headings_go_down_one_level_at_a_time(body: str) -> None:
    levels = [int(level) for level in re.findall(r"<h(\d)\b", body)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))
    heads = re.findall(r"<th\b[^>]*>", body)
    assert len(heads) > 10 and all('scope="row"' in head or 'scope="col"' in head for head in heads)


@pytest.mark.parametrize("width", [1200, 800, 390])
def test_what_is_wide_scrolls_in_a_box_of_its_own(tab, width: int) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    boxes = tab.evaluate(
        "[...document.querySelectorAll('figure .wide, .display > .scroll')].map(b => [b.scrollWidth, b.clientWidth])"
    )
    assert sum(inner > outer for inner, outer in boxes) >= 2  # the table and the long sum
    item = tab.locator("main ol > li").filter(has_text="counted")
    item.scroll_into_view_if_needed()
    box = item.bounding_box()
    beside = tab.screenshot(clip=box | {"x": box["x"] - 25, "width": 25})
    assert np.asarray(Image.open(io.BytesIO(beside)).convert("L")).min() < 128, "the item's number is seen"
    tab.set_viewport_size({"width": 1200, "height": 900})


def test_the_film_moves_by_keys(tab) -> None:
    slider, picture = tab.get_by_role("slider").first, tab.locator(".film .strip > div").first
    slider.focus()

    def seen() -> np.ndarray:
        return ink(picture)[8:-8, 8:-8]  # the edge may share a pixel of the screen with the paper

    assert np.abs(seen() - 0.5).max() < 0.02, "it begins in the middle"
    tab.keyboard.press("Home")
    assert seen().max() < 0.02, "paper"
    tab.keyboard.press("End")
    assert seen().min() > 0.98 and tab.complaints == [], "ink"


def test_a_film_begins_with_its_first_frame_and_what_it_says_stays_beside_its_slider(tab) -> None:
    tab.reload()
    slider, output = tab.get_by_role("slider").first, tab.locator(".film .bar output").first
    assert slider.input_value() == "2"
    tab.locator(".film button").first.click()
    assert slider.input_value() == "0" and output.text_content() == "1 of 5"
    tab.locator(".film button").first.click()


def test_space_plays_and_stops_the_film_and_the_page_stays(tab) -> None:
    slider, output = tab.get_by_role("slider").first, tab.locator(".film output").first
    slider.press("Home")
    before = tab.evaluate("scrollY")
    slider.press(" ")
    wait_for(lambda: slider.input_value() != "0", "another frame")
    assert (
        output.get_attribute("aria-live") == "off" and output.text_content() == f"{1 + int(slider.input_value())} of 5"
    )
    slider.press(" ")
    assert output.get_attribute("aria-live") == "polite" and tab.evaluate("scrollY") == before


def test_the_contents_mark_the_section_that_is_read(tab) -> None:
    tab.evaluate("document.getElementById('sec-rd-a').scrollIntoView({behavior: 'instant'})")
    tab.locator("nav a[aria-current]", has_text="RD-a: sound").wait_for()
    tab.evaluate("scrollTo({top: document.body.scrollHeight, behavior: 'instant'})")
    tab.locator("nav a[aria-current]", has_text="Notation").wait_for()
    box = tab.locator("nav").bounding_box()
    assert box["y"] >= 0 and box["y"] + box["height"] <= 900, "the contents stay in the window"


def test_a_figure_is_shown_large_and_closed_again_by_keys(tab) -> None:
    picture = tab.locator("figure[id='fig-line'] > img")
    tab.get_by_role("button", name="Enlarge Figure 1").press("Enter")
    large = tab.locator("dialog img")
    assert large.bounding_box()["width"] > picture.bounding_box()["width"]
    assert large.get_attribute("alt") == "It rises slowly & surely."
    tab.keyboard.press("Escape")
    tab.locator("dialog").wait_for(state="hidden")


def opened_again(tab: lab.Page, width: int, **options) -> lab.Page:
    """The page in another window of the same browser; options: those of Playwright's new_page."""
    opened = tab.context.browser.new_page(viewport={"width": width, "height": 900}, offline=True, **options)
    opened.goto(tab.url)
    opened.evaluate("document.fonts.ready")
    return opened


def test_on_a_phone_the_film_is_reached_and_moved(tab) -> None:
    with contextlib.closing(opened_again(tab, 390, has_touch=True, is_mobile=True)) as phone:
        slider, picture = phone.get_by_role("slider").first, phone.locator(".film .strip > div").first
        slider.scroll_into_view_if_needed()
        box, seen = slider.bounding_box(), picture.bounding_box()
        assert box["height"] >= 44 and phone.get_by_role("button", name="play").bounding_box()["height"] >= 44
        assert box["y"] >= 0 and seen["y"] + seen["height"] <= 900, "slider and pictures are seen together"
        phone.touchscreen.tap(box["x"] + box["width"] - 6, box["y"] + box["height"] / 2)
        assert slider.input_value() == "4" and ink(picture)[8:-8, 8:-8].min() > 0.98
        assert not phone.locator("nav ol").first.is_visible(), "the contents are folded"
        phone.locator("nav summary").first.tap()
        assert phone.locator("nav ol").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_nothing_keeps_readers_out(tab, scheme: str, width: int) -> None:
    """axe-core's rules: contrast, names, landmarks, keys; for code, tables, answers, formulas and films alike."""
    with contextlib.closing(opened_again(tab, width, color_scheme=scheme)) as opened:
        found = Axe().run(opened).response
    severe = [fault for fault in found["violations"] if fault["impact"] in ("serious", "critical")]
    assert len(found["passes"]) > 20 and not [(fault["id"], fault["nodes"][0]["html"]) for fault in severe]


def test_in_print_a_film_is_a_still_and_the_contents_are_left_out(tab) -> None:
    tab.emulate_media(media="print")
    assert tab.locator(".film .strip").first.is_visible() and not tab.locator(".film input").first.is_visible()
    assert not tab.locator("nav").is_visible() and tab.locator(".printed").first.is_visible()
    tab.emulate_media(media="screen")


def make_pdf(notebook: NotebookNode, folder: Path) -> None:
    export.make_pdf(export.write_latex(notebook, folder))


@pytest.mark.usefixtures("tex")
@pytest.mark.parametrize(
    ("make", "markdown", "complaint"),
    [
        (make_pdf, "see [Nobody 1999](#cite-nobody1999)", "has no entry nobody1999"),
        (make_pdf, "see [figure](#fig-absent)", "fig-absent"),
        (make_pdf, "an unprintable \U0001f600", "Missing character"),
        (make_pdf, "$\\frac{1}$ and $}$", "xelatex stopped"),
        (make_pdf, "```\nopen", "leaves a code block"),
        (export.write_page, "see [Nobody 1999](#cite-nobody1999)", "has no entry nobody1999"),
        (export.write_page, "see [figure](#fig-absent)", "fig-absent"),
    ],
)
def test_unsound_text_is_refused(workshop: Workshop, make, markdown: str, complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        make(workshop.merged(markdown), workshop.folder)
    assert not (workshop.folder / "report.html").exists()
