"""The report's page: complete in itself, numbered, and with films that work offline in a real browser."""

import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import page
import pytest
from conftest import Workshop
from errors import BuildError
from PIL import Image

CELLS = (
    r"""publish.say(r'''## RD-a: sound

The [figure](#fig-line), the [table](#tab-one) and \eqref{eq:one} agree with
[Kingma & Welling 2014](#cite-kingma2014), as $β \to 0$:

$$\int_0^1 \Bigl(\frac{x}{2}\Bigr)^2\,\mathrm dx \ge -1 . \label{eq:one}$$''')""",
    "publish.answer('RD-a', 'It is $x^2$. More.', '$x = 2$')",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\n"
    "publish.figure(fig, 'fig-line', 'It rises *slowly* & surely. More.')",
    "import pandas as pd\nframe = pd.DataFrame({'a': ['1.5', '-0.25']}, index=['p', 'q'])\n"
    "publish.table(frame, 'tab-one', 'Few numbers.')",
    "publish.check('one is one', 1, 1, 1e-9)",
    "import torch\nimages = torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1).expand(5, 1, 28, 28)\n"
    "publish.film({'up': images, 'down': images.flip(0)}, 'From black to white.', axis='step')\n"
    "publish.film({'named': images}, 'Letters.', names=['a', 'b < c', '\"d\"', 'é', 'f'])",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one small notebook."""
    if shutil.which("pandoc") is None and not os.environ.get("CI"):
        pytest.skip("pandoc not installed: `make setup` as root installs what the page needs.")
    workshop = Workshop(tmp_path_factory.mktemp("page"))
    workshop.write("01_small", *CELLS)
    done = workshop.build("--page")
    assert done.returncode == 0, done.stderr
    assert not workshop.pdf.exists()
    return workshop.pdf.with_suffix(".html")


@pytest.fixture(scope="module")
def body(built: Path) -> str:
    return built.read_text(encoding="utf-8")


@pytest.fixture
def browser() -> Iterator:
    """Headless Chromium without network; skipped where there is none, except in CI, where that is a failure."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("chromium or playwright is missing.")
        pytest.skip("no chromium with playwright on this machine: `make test` as root installs both.")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running.new_context(offline=True)
        running.close()


def test_the_page_needs_no_other_file(body: str) -> None:
    assert not re.findall(r'\bsrc="(?!data:)|<link[^>]*href="(?!data:)|@import|url\((?!data:)', body)
    assert '<html lang="en-GB">' in body and '<meta name="author"' in body


def test_formulas_are_mathml_and_numbered(body: str) -> None:
    assert (
        body.count("<math") >= 4 and "\\frac" not in body and "$" not in re.sub(r"(?s)<script>.*?</script>", "", body)
    )
    assert '<a href="#eq:one">(1)</a>' in body and re.search(
        r'id="eq:one".*?<span class="mark">\(1\)</span>', body, re.S
    )


def test_figures_tables_sections_and_sources_are_numbered_links(body: str) -> None:
    for link in (
        '<a href="#fig-line">Figure\u00a01</a>',
        '<a href="#tab-one">table\u00a01</a>',
        'href="#cite-kingma2014"',
    ):
        assert link in body
    assert '<span class="number">1.1</span> RD-a: sound' in body and 'id="cite-kingma2014"' in body
    assert 'alt="It rises slowly &amp; surely."' in body and "<b>Table 1.</b>" in body
    assert 'href="#answer-RD-a"' in body and 'id="answer-RD-a"' in body


def test_decimal_points_and_minus_signs_stand_as_in_print(body: str) -> None:
    assert "1.5\u2007</td>" in body and "−0.25</td>" in body


def test_the_film_moves_offline_by_keys_and_by_play(built: Path, browser) -> None:
    complaints: list[str] = []
    tab = browser.new_page()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: request.url.startswith("http") and complaints.append(request.url))
    tab.goto(built.as_uri())
    film, named = tab.locator(".film").all()
    up, down = film.get_by_role("img").all()

    def grey(strip) -> float:
        return np.asarray(Image.open(io.BytesIO(strip.screenshot())).convert("L"), dtype=float).mean()

    assert grey(up) > 250 and grey(down) < 5  # as ink: −1 is white
    film.get_by_role("slider").focus()
    tab.keyboard.press("ArrowRight")
    assert abs(grey(up) - 191) < 3 and abs(grey(down) - 64) < 3
    tab.keyboard.press("End")
    assert grey(up) < 5 and film.locator("output").inner_text() == "5 of 5"
    film.get_by_role("button").click()
    tab.wait_for_function("document.querySelector('.film output').textContent == '3 of 5'", timeout=5000)
    named.get_by_role("slider").focus()
    for name in ("b < c", '"d"', "é"):
        tab.keyboard.press("ArrowRight")
        assert named.locator("output").inner_text() == name
        assert named.get_by_role("slider").get_attribute("aria-valuetext") == name
    assert complaints == []


@pytest.mark.parametrize(
    ("markdown", "complaint"),
    [
        ("see [Nobody 1999](#cite-nobody1999)", "cite-nobody1999"),
        ("see [figure](#fig-absent)", "fig-absent"),
        ("$\\frac{1}$", "could not read"),
    ],
)
def test_an_unsound_page_is_refused(workshop: Workshop, markdown: str, complaint: str) -> None:
    whole = workshop.merged(markdown)
    whole.metadata.report |= {"title": {}, "run": {"versions": {}, "jobs": 1}, "notebooks": []}
    with pytest.raises(BuildError, match=complaint):
        page.write_html(whole, workshop.folder)
    assert not (workshop.folder / "report.html").exists()
