"""The report's build: all notebooks from scratch to the PDF, and what it does when something is wrong."""

import ast
import fcntl
import re
import subprocess

import execute
import facts
import merge
import nbformat
import prose
import pytest
import reuse
import schedule
import typeset
from conftest import ROOT, Workshop
from errors import BuildError

from helpers import publish

pytestmark = pytest.mark.usefixtures("tex")
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The real notebooks, at tiny parameters and without any shipped model."""
    workshop = Workshop(tmp_path_factory.mktemp("report"))
    done = workshop.build("--reduced", "--notebooks", str(NOTEBOOKS))
    assert done.returncode == 0, done.stderr
    return workshop


@pytest.mark.parametrize("question", merge.QUESTIONS)
def test_every_question_is_answered(reduced: Workshop, question: str) -> None:
    assert f"Answer to {question}." in reduced.text()


@pytest.mark.parametrize(
    "noise", ["Traceback", r"interactive\(", r"\bnan\b(?! or infinity)", r"\?\?", "100%.*it/s", r"<\w+ at 0x"]
)
def test_no_noise_in_the_pdf(reduced: Workshop, noise: str) -> None:
    assert not re.search(noise, reduced.text(), re.IGNORECASE)


def test_the_pdf_says_that_the_run_was_reduced(reduced: Workshop) -> None:
    assert "reduced run" in reduced.text() and "full run" not in reduced.text()


def test_the_pdf_is_a4_and_has_title_author_and_bookmarks(reduced: Workshop) -> None:
    facts = subprocess.run(["pdfinfo", reduced.pdf], capture_output=True, text=True, check=True).stdout
    assert re.search(r"(?m)^Title: +\S", facts) and re.search(r"(?m)^Author: +\S", facts) and "A4" in facts
    outline = subprocess.run(["pdftohtml", "-xml", "-i", "-stdout", reduced.pdf], capture_output=True, text=True).stdout
    assert len(re.findall(r"<item page=.*>\d \w", outline)) == len(execute.find(NOTEBOOKS))


def test_the_page_has_the_numbers_of_the_pdf(reduced: Workshop) -> None:
    page = reduced.pdf.with_suffix(".html").read_text(encoding="utf-8")
    known = re.findall(
        r"\\newlabel\{((?:fig|tab|eq|sec)[^}]*)\}\{\{([^}]+)\}", (reduced.folder / "build" / "report.aux").read_text()
    )
    shown = dict(re.findall(r'<figure id="([^"]+)".*?<b>(?:Figure|Table) (\d+)', page, re.DOTALL))
    shown |= dict(re.findall(r'<h\d[^>]* id="([^"]+)"[^>]*><span class="number">([^<]+)<', page))
    shown |= dict(
        re.findall(r'<span id="(eq:[^"]+)" class="equation">.*?<span class="mark">\((\d+)\)', page, re.DOTALL)
    )
    assert len(known) > 60 and {label: shown.get(label) for label, _ in known} == dict(known)


def test_no_figure_leaves_its_chapter(reduced: Workshop) -> None:
    def homes(labels: list[str], chapters: set[str]) -> dict[str, str]:
        found, here = {}, ""
        for label in labels:
            here = label if label in chapters else here
            found[label] = here
        return found

    page = reduced.pdf.with_suffix(".html").read_text(encoding="utf-8")
    aux = (reduced.folder / "build" / "report.aux").read_text()  # its lines are in the order of the pages
    chapters = set(re.findall(r'<h2 [^>]*?id="(sec-[^"]+)"', page)) - {"sec-references"}
    wanted = homes(re.findall(r'<(?:figure|h2) [^>]*?id="((?:fig|tab|sec)-[^"]*)"', page), chapters)
    wanted.pop("sec-references")
    printed = homes(re.findall(r"\\newlabel\{((?:fig|tab|sec)-[^}@]*)\}", aux), chapters)
    assert wanted == {label: printed[label] for label in wanted}


def test_appendices_stand_behind_the_references(reduced: Workshop) -> None:
    text = reduced.text()
    places = [
        re.search(rf"(?m)^ *{title} *$", text).start()
        for title in ("References", "A +Going further", "B +All numeric checks", "C +Reproducibility", "D +Code")
    ]
    assert places == sorted(places) and "helpers/paths.py" in text and "Continues section" in text


def test_the_page_has_a_film_and_no_dead_section(reduced: Workshop) -> None:
    page = reduced.pdf.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count('class="film"') >= 6 and "under your hand" not in page and "under your hand" not in reduced.text()


def test_reduced_parameters_belong_to_notebooks() -> None:
    for name, parameters in execute.reduced_parameters().items():
        execute.check_parameters(NOTEBOOKS / f"{name}.ipynb", parameters)


def test_failing_cell_is_named_and_the_old_pdf_stays(workshop: Workshop) -> None:
    workshop.write("01_good", "publish.say('fine')")
    workshop.write("02_bad", "a = 1", "publish.check('one is two', a, 2, 0.5)")
    workshop.pdf.write_bytes(b"yesterday's report")
    done = workshop.build()
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert "02_bad.ipynb, code cell 4" in message and "AssertionError: check failed: one is two" in message
    assert workshop.pdf.read_bytes() == b"yesterday's report"
    assert "✗ one is two" in (workshop.folder / "build" / "02_bad.ipynb").read_text()


def test_only_notebooks_that_something_changed_for_run_again(workshop: Workshop) -> None:
    workshop.write("01_still", "publish.say('fine')")
    outputs = [workshop.build(**environment).stdout for environment in ({}, {}, {"FORCE": "1"})]
    assert [len(re.findall(r"01_still.ipynb .*reused", output)) for output in outputs] == [0, 1, 0]


def test_cells_parameters_and_models_decide_what_runs_again(workshop: Workshop, monkeypatch) -> None:
    models = workshop.folder / "models"
    monkeypatch.setenv("MODELS", str(models))
    train = "from torch import nn\nfrom helpers import store\n"
    train += "start = lambda: store.State({'m': nn.Linear(1, 1)})\n"
    train += "with store.training('m', {'epochs': 1, 'seed': 0}, start) as run:\n"
    train += "    for epoch in run.epochs():\n        run.log({})"
    workshop.write("01_model", train)
    source, target = workshop.notebooks / "01_model.ipynb", workshop.folder / "01_model.ipynb"
    mark = reuse.fingerprint(source, {})
    assert reuse.recall(target, mark) is None
    (seconds,) = schedule.run_all([source], workshop.folder, {}, anew=True, jobs=1)
    assert reuse.recall(target, mark) == pytest.approx(seconds)
    assert reuse.fingerprint(source, {"seed": 1}) != mark
    workshop.write("01_model", train + "\n# changed")
    assert reuse.fingerprint(source, {}) != mark
    (weights,) = models.glob("m-*.safetensors")
    weights.write_bytes(weights.read_bytes() + b"x")
    assert reuse.recall(target, mark) is None


def test_a_fingerprint_sees_helpers_that_helpers_import(tmp_path) -> None:
    found = {path.stem for path in reuse._imported("from helpers import gan\nfrom helpers.widgets import f", set())}
    assert {"gan", "store", "networks", "widgets"} <= found and "echo" not in found


def test_unknown_parameter_is_refused_before_anything_runs(workshop: Workshop) -> None:
    workshop.write("01_good", "publish.say('fine')")
    table = workshop.folder / "parameters.toml"
    table.write_text("[01_good]\nepoch = 3\n")
    done = workshop.build("--reduced", "--parameters", str(table))
    assert done.returncode == 1 and "no parameter 'epoch'" in done.stderr
    assert not (workshop.folder / "build" / "01_good.ipynb").exists()


@pytest.mark.parametrize("value", ["-1", "0", "2.5", "true", '"many"', "[3]"])
def test_a_parameter_of_another_kind_is_refused_before_anything_runs(workshop: Workshop, value: str) -> None:
    workshop.write("01_good", "publish.say('fine')", parameters="starts = 2**3")
    table = workshop.folder / "parameters.toml"
    table.write_text(f"[01_good]\nstarts = {value}\n")
    (parameters,) = execute.reduced_parameters(table).values()
    with pytest.raises(BuildError, match="01_good.ipynb: starts = .* default, 8"):
        execute.check_parameters(workshop.notebooks / "01_good.ipynb", parameters)


@pytest.mark.parametrize("default, good, bad", [("0.5", 2, -1), ("[1, 2]", [7], []), ("[0.5]", [1.0], ["a"])])
def test_a_parameter_of_its_default_s_kind_is_taken(workshop: Workshop, default: str, good, bad) -> None:
    workshop.write("01_good", parameters=f"wish = {default}")
    execute.check_parameters(workshop.notebooks / "01_good.ipynb", {"wish": good})
    with pytest.raises(BuildError):
        execute.check_parameters(workshop.notebooks / "01_good.ipynb", {"wish": bad})


def test_two_notebooks_run_at_once_and_the_first_failure_ends_the_other(workshop: Workshop) -> None:
    wait = "import pathlib, time\npathlib.Path('{}').touch()\nwhile not pathlib.Path('{}').exists(): time.sleep(0.05)"
    names = [str(workshop.folder / name) for name in ("first", "second", "never")]
    workshop.write("01_one", wait.format(names[0], names[1]))
    workshop.write("02_two", wait.format(names[1], names[0]))
    together = workshop.build(JOBS="2", OMP_NUM_THREADS="1")
    assert together.returncode == 0, together.stderr
    workshop.write("01_one", wait.format(names[0], names[2]))
    workshop.write("02_two", "raise ValueError('it is broken')")
    broken = workshop.build(JOBS="2", OMP_NUM_THREADS="1")
    assert broken.returncode == 1 and "02_two.ipynb" in broken.stderr and "it is broken" in broken.stderr


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_a_number_of_jobs_without_sense_is_refused(workshop: Workshop, jobs: str) -> None:
    workshop.write("01_good", "publish.say('fine')")
    done = workshop.build(JOBS=jobs)
    assert done.returncode == 1 and f"JOBS={jobs} must be a whole number" in done.stderr


def test_hostile_names_are_printed_as_they_are(workshop: Workshop) -> None:
    workshop.write("01_good", "publish.say('fine')")
    author = r"""Zoë O'Ñeill, 李明 & Иван "100%" #1_{x}^2 ~ \input{a} $B `id` -- Ζωή"""
    done = workshop.build(AUTHOR=author, HOURS="<3 & more", COLLABORATORS="a_b; łódź")
    assert done.returncode == 0, done.stderr
    text = " ".join(workshop.text().replace("’", "'").split())
    for part in (
        "Zoë O'Ñeill",
        "李明 & Иван",
        '"100%" #1_{x}^2',
        r"\input{a} $B `id` -- Ζωή",
        "<3 & more",
        "a_b; łódź",
    ):
        assert part in text
    facts = subprocess.run(["pdfinfo", workshop.pdf], capture_output=True, text=True, check=True).stdout
    assert f"Author:          {author}" in facts


@pytest.mark.parametrize(
    ("markdown", "complaint"),
    [
        ("see [Nobody 1999](#cite-nobody1999)", "has no entry nobody1999"),
        ("see [figure](#fig-absent)", "fig-absent"),
        ("an unprintable \U0001f600", "Missing character"),
        ("$\\frac{1}$ and $}$", "xelatex stopped"),
    ],
)
def test_unsound_text_is_refused(workshop: Workshop, markdown: str, complaint: str) -> None:
    whole = workshop.merged(markdown)
    whole.metadata.report |= {"title": facts.title_block(reduced=True), "run": facts.run_facts(0, 1)}
    whole.metadata.report.notebooks[0]["seconds"] = 1.0
    with pytest.raises(BuildError, match=complaint):
        typeset.make_pdf(typeset.write_latex(whole, workshop.folder))


@pytest.mark.parametrize(
    ("text", "brief"),
    [
        (
            "As β → 0 only the data counts: a rate of 1.5 nats ([figure](#fig-a)). More.",
            "As β → 0 only the data counts: a rate of 1.5 nats.",
        ),
        ("Yes. It is so. Why?", "Yes. It is so."),
    ],
)
def test_the_opening_list_has_the_first_sentence(text: str, brief: str) -> None:
    assert merge._brief(text) == brief


@pytest.mark.parametrize(("questions", "complaint"), [(["RD-z"], "no question"), (["RD-a", "RD-a"], "answered twice")])
def test_wrong_answers_are_refused(workshop: Workshop, questions: list[str], complaint: str) -> None:
    workshop.write("01_wrong", "pass")
    path = workshop.notebooks / "01_wrong.ipynb"
    notebook = nbformat.read(path, 4)
    for question in questions:
        fact = {"kind": "answer", "question": question, "text": "yes", "number": ""}
        notebook.cells[-1].outputs.append(nbformat.v4.new_output("display_data", {}, metadata={"report": fact}))
    nbformat.write(notebook, path)
    with pytest.raises(BuildError, match=complaint):
        merge.merge([path])


def test_a_shown_source_keeps_the_first_line_of_each_docstring() -> None:
    code = """class A:
    \"\"\"One.

    More.
    \"\"\"

    def f(self):
        \"\"\"Two.\"\"\"
        def inner():
            \"\"\"Three.

            More.
            \"\"\"
            return 1

    def g(self):
        return \"\"\"no
        docstring\"\"\"
"""
    shown = publish._brief(code)
    assert "More." not in shown and "docstring" in shown
    assert ast.dump(ast.parse(shown)) == ast.dump(
        ast.parse(code.replace("\n\n    More.\n    ", "").replace("\n\n            More.\n            ", ""))
    )


def test_two_builds_at_once_are_refused(workshop: Workshop) -> None:
    workshop.write("01_good", "publish.say('fine')")
    (workshop.folder / "build").mkdir()
    with open(workshop.folder / "build" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = workshop.build()
    assert done.returncode == 1 and "another build is at work" in done.stderr


def test_merged_notebook_is_valid_and_unites_widgets_and_attachments(workshop: Workshop) -> None:
    for name in ("01_one", "02_two"):
        workshop.write(name, "1", "2")
        notebook = nbformat.read(workshop.notebooks / f"{name}.ipynb", 4)
        notebook.metadata.widgets = {merge.WIDGETS: {"state": {f"model {name}": {}}}}
        notebook.cells[0].attachments = {"a.png": {"image/png": ""}}
        notebook.cells[0].source += "\n\n![](attachment:a.png)"
        nbformat.write(notebook, workshop.notebooks / f"{name}.ipynb")
    whole = merge.merge(sorted(workshop.notebooks.iterdir()))
    assert len({cell.id for cell in whole.cells}) == len(whole.cells) == 9  # one marks the appendix
    assert set(whole.metadata.widgets[merge.WIDGETS]["state"]) == {"model 01_one", "model 02_two"}
    assert [list(cell.attachments) for cell in whole.cells if "attachments" in cell] == [
        ["01_one-a.png"],
        ["02_two-a.png"],
    ]
    assert "attachment:02_two-a.png" in whole.cells[4].source


@pytest.mark.parametrize(
    ("markdown", "latex"),
    [
        ("its [figure](#fig-x)", r"its \hyperref[fig-x]{figure~\ref*{fig-x}}"),
        ("The [figure](#fig-x)", r"\hyperref[fig-x]{Figure~\ref*{fig-x}}"),
        ("[Kingma & Welling 2014](#cite-kingma2014)", r"\citet{kingma2014}"),
        ("(so [Alemi et al. 2018, eq. 4](#cite-alemi2018))", r"(so \citealt[eq.~4]{alemi2018})"),
        ("[notebook 4](04_gan.ipynb)", r"\hyperref[sec-gan]{notebook 4}"),
        ("as β → 0", r"as \texorpdfstring{\ensuremath{β}}{β} → 0"),
        ("### At $\\beta \\to 0$", r"\subsubsection{At \texorpdfstring{\(\beta \to 0\)}{β → 0}}"),
        (r"$$a \label{eq:a}$$", r"\begin{equation}a \label{eq:a}\end{equation}"),
        (r"$$\begin{aligned}a\end{aligned}$$", "\\[\\begin{aligned}a\\end{aligned}\\]"),
        ("text\n- item", "\\begin{itemize}\n\\tightlist\n\\item\n  item\n\\end{itemize}"),
    ],
)
def test_markdown_becomes_latex(markdown: str, latex: str) -> None:
    assert latex in prose.convert([markdown])[markdown]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.2, 1.4], "1.20 ± 0.20"),
        ([100.0, 140.0], "120 ± 28"),
        ([0.5], "0.5"),
        ([0.01234, 0.01236], "0.012350 ± 0.000014"),
    ],
)
def test_a_spread_is_printed_to_the_second_digit_of_its_deviation(values: list[float], expected: str) -> None:
    assert publish.mean_std(values) == expected


def test_an_unknown_retrain_is_refused(workshop: Workshop) -> None:
    workshop.write("01_one", "1 + 1")
    done = workshop.build(RETRAIN="everything")
    assert done.returncode == 1 and "RETRAIN=everything is unknown" in done.stderr
