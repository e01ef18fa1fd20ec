"""What a run does not confirm: a draft beside the good report, with sentence and check marked in PDF and page."""

import re

import build
import pytest
from conftest import Workshop

CELLS = (
    "publish.say('Before.')\npublish.claim('The **mean** of $x_1$ in [appendix](#sec-checks) is 3.', 1 + 1 == 3)",
    "publish.answer('RD-a', publish.holds('Yes, 4 < 2.', 4 < 2), 'It is 4.')",
    "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2])\n"
    r"finding = publish.holds('It falls, as $x \to 0$.', False)" + "\n"
    "publish.figure(fig, 'fig-line', f'It rises. {finding} It ends.')",
    "publish.check('one is one', 1, 1, 1e-9)\npublish.check('U* of |x|_1 is 2', 1, 2, 0.5, exact=False)\n"
    "publish.check_interval('a third', 0.3, 0.4, 0.5)",
)
MARKED = ["The mean of", "Yes, 4 < 2.", "It is 4.", "It falls, as", "U* of |x|_1 is 2: computed 1", "a third: computed"]


@pytest.mark.usefixtures("tex")
def test_a_full_run_that_does_not_confirm_writes_a_marked_draft_beside_the_good_report(workshop: Workshop) -> None:
    workshop.write("01_doubtful", *CELLS)
    workshop.pdf.write_bytes(b"the good report")
    workshop.page.write_bytes(b"the good page")
    process = workshop.start()
    out, err = process.communicate()
    assert process.returncode == build.DRAFT != 0 and "Traceback" not in err, err
    assert workshop.pdf.read_bytes() == b"the good report" and workshop.page.read_bytes() == b"the good page"
    workshop.pdf, workshop.page = (path.with_stem("a report-draft") for path in (workshop.pdf, workshop.page))
    *lines, last = out.strip().splitlines()
    assert str(workshop.pdf) in last and str(workshop.page) in last
    assert sum(line.startswith("not confirmed in this run: 01_doubtful.ipynb: ") for line in lines) == 5
    assert any("(false: 1 + 1 == 3)" in line for line in lines)
    text, page = " ".join(workshop.text().split()), workshop.page.read_text(encoding="utf-8")
    assert "5 sentences or checks are not confirmed" in text and "5 sentences or checks are not confirmed" in page
    for words in MARKED:
        assert re.search(rf"[Nn]ot confirmed in this run: {re.escape(words)}", text), words


def test_a_reduced_run_says_so_without_failing(workshop: Workshop) -> None:
    workshop.write("01_doubtful", *CELLS)
    said = workshop.build("--reduced", "--page")
    assert "5 sentences or checks are not confirmed by tiny models" in said and str(workshop.page) in said
    assert workshop.page.read_text(encoding="utf-8").count("<del>") == 6


def test_an_exact_identity_that_fails_stops_the_build(workshop: Workshop) -> None:
    workshop.write("01_wrong", "publish.check('one is two', 1, 2, 0.5)")
    assert "check failed: one is two" in workshop.refused("--page")[-1]
