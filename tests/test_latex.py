"""A notebook that plain nbconvert makes a PDF of loses no character, and no end of a line of printed code."""

import re
import subprocess
import sys

import pytest
import runner
from conftest import Workshop

LONG = "def f(x):\n    return " + " + ".join(["x"] * 17) + "  # β in a line of 120 characters, its END"
CELLS = (
    "from helpers.show import figures, latex\nfigures.use_style()",
    f"from pathlib import Path\nimport sys\nPath('long_line.py').write_text({LONG!r})\n"
    "sys.path.insert(0, '.')\nimport long_line\npublish.source(long_line.f)",
    "publish.check('χ² of β', 1, 1, 0)\npublish.say('The *χ²* of **β** ✓ ⚠.')",
)


@pytest.mark.usefixtures("tex")
def test_plain_nbconvert_prints_every_character_on_the_page(workshop: Workshop) -> None:
    source, target = workshop.write("01_plain", *CELLS), workshop.folder / "01_plain.ipynb"
    runner.run(source, target, {})
    command = [sys.executable, "-m", "nbconvert", "--to", "latex", target]
    subprocess.run(command, check=True, capture_output=True, cwd=workshop.folder)
    for words in (["xelatex", "-halt-on-error", "01_plain.tex"], ["pdftotext", "-bbox", "01_plain.pdf", "words.html"]):
        subprocess.run(words, check=True, capture_output=True, cwd=workshop.folder)
    log = (workshop.folder / "01_plain.log").read_text(encoding="utf-8", errors="replace")
    assert re.findall(r"Missing character: There is no [^ ]+", log) == []
    words = (workshop.folder / "words.html").read_text(encoding="utf-8")
    width = float(re.search(r'<page width="([\d.]+)"', words)[1])
    (end,) = re.findall(r'xMax="([\d.]+)"[^>]*>END<', words)
    assert float(end) < width - 36, "half an inch"
    assert not re.search(r"fvset|newfontfamily", words)
