"""The report's build: all notebooks from scratch to PDF and page, what it reads, refuses and hands in."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import build
import execute
import export
import facts
import filelock
import merge
import nbformat
import prose
import pytest
import submission
from conftest import ROOT, Workshop
from errors import BuildError

pytestmark = pytest.mark.usefixtures("tex")
NOTEBOOKS = ROOT / "notebooks"
make = nbformat.v4


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The real notebooks, at tiny parameters and without any shipped model."""
    workshop = Workshop(tmp_path_factory.mktemp("report"))
    done = workshop.build("--reduced", "--notebooks", str(NOTEBOOKS))
    assert done.returncode == 0, done.stderr
    return workshop


def test_every_question_is_answered_without_noise(reduced: Workshop) -> None:
    text = reduced.text()
    assert all(f"Answer to {question}." in text for question in merge.QUESTIONS)
    for noise in ("Traceback", r"interactive\(", r"\bnan\b(?! or infinity)", r"\?\?", "100%.*it/s", r"<\w+ at 0x"):
        assert not re.search(noise, text, re.IGNORECASE), noise
    assert "reduced run" in text and "full run" not in text


def test_the_pdf_is_a4_and_has_title_author_and_bookmarks(reduced: Workshop) -> None:
    found = subprocess.run(["pdfinfo", reduced.pdf], capture_output=True, text=True, check=True).stdout
    assert re.search(r"(?m)^Title: +\S", found) and re.search(r"(?m)^Author: +\S", found) and "A4" in found
    outline = subprocess.run(["pdftohtml", "-xml", "-i", "-stdout", reduced.pdf], capture_output=True, text=True).stdout
    assert len(re.findall(r"<item page=.*>\d \w", outline)) == len(execute.find(NOTEBOOKS))


def test_the_page_has_the_numbers_of_the_pdf(reduced: Workshop) -> None:
    page, aux = reduced.page.read_text(encoding="utf-8"), (reduced.folder / "build" / "report.aux").read_text()
    known = dict(re.findall(r"\\newlabel\{((?:fig|tab|sec)[^}@]*)\}\{\{([^}]+)\}", aux))
    shown = dict(re.findall(r'<figure id="([^"]+)".*?<b>(?:Figure|Table) (\d+)', page, re.DOTALL))
    shown |= dict(re.findall(r'<h\d[^>]* id="([^"]+)"[^>]*><span class="number">([^<]+)<', page))
    assert len(known) > 60 and {label: shown.get(label) for label in known} == known


def test_no_figure_leaves_its_chapter_and_appendices_stand_behind_the_references(reduced: Workshop) -> None:
    def homes(labels: list[str]) -> dict[str, str]:
        """For each figure and table the chapter in which it stands."""
        found, here = {}, ""
        for label in labels:
            here = label if label in chapters else here
            found |= {} if label.startswith("sec") else {label: here}
        return found

    page, aux = reduced.page.read_text(encoding="utf-8"), (reduced.folder / "build" / "report.aux").read_text()
    chapters = set(re.findall(r'<h2 [^>]*?id="(sec-[^"]+)"', page))
    wanted = homes(re.findall(r'<(?:figure|h2) [^>]*?id="((?:fig|tab|sec)-[^"]*)"', page))
    assert wanted == homes(re.findall(r"\\newlabel\{((?:fig|tab|sec)-[^}@]*)\}", aux))  # in the order of the pages
    text = reduced.text()
    titles = ("References", "A +Going further", "B +All numeric checks", "C +Reproducibility", "D +Code")
    places = [re.search(rf"(?m)^ *{title} *$", text).start() for title in titles]
    assert places == sorted(places) and "helpers/paths.py" in text and "Continues section" in text


def test_a_failing_cell_is_named_and_the_old_pdf_stays(workshop: Workshop) -> None:
    workshop.write("01_good", "publish.say('fine')")
    workshop.write("02_bad", "a = 1", "publish.check('one is two', a, 2, 0.5)")
    workshop.pdf.write_bytes(b"yesterday's report")
    done = workshop.build()
    message = done.stderr.strip().splitlines()[-1]
    assert "02_bad.ipynb, code cell 4" in message and "AssertionError: check failed: one is two" in message
    assert done.returncode == 1 and workshop.pdf.read_bytes() == b"yesterday's report"
    assert "failed: one is two" in (workshop.folder / "build" / "02_bad.ipynb").read_text()


def test_only_notebooks_that_something_changed_for_run_again(workshop: Workshop) -> None:
    workshop.write("01_still", "publish.say('fine')")
    outputs = [workshop.build("--page", **environment).stdout for environment in ({}, {}, {"FORCE": "1"})]
    assert [len(re.findall(r"01_still.ipynb .*reused", output)) for output in outputs] == [0, 1, 0]


def test_cells_parameters_helpers_and_models_decide_what_runs_again(workshop: Workshop, monkeypatch) -> None:
    models = workshop.folder / "models"
    monkeypatch.setenv("MODELS", str(models))
    train = "from torch import nn\nfrom helpers import store\nstart = lambda: store.State({'m': nn.Linear(1, 1)})\n"
    train += "with store.training('m', {'epochs': 1, 'seed': 0}, start) as run:\n"
    train += "    for epoch in run.epochs():\n        run.log({'loss': 0.0})"
    workshop.write("01_model", train)
    source, target = workshop.notebooks / "01_model.ipynb", workshop.folder / "01_model.ipynb"
    mark = execute.fingerprint(source, {})
    assert execute.recall(target, mark) is None
    execute.run_all([source], workshop.folder, {}, anew=True, jobs=1)
    assert execute.recall(target, mark) > 0 and execute.fingerprint(source, {"seed": 1}) != mark
    workshop.write("01_model", train + "\n# changed")
    assert execute.fingerprint(source, {}) != mark
    (weights,) = models.glob("m-*.safetensors")
    weights.write_bytes(weights.read_bytes() + b"x")
    assert execute.recall(target, mark) is None
    found = {path.stem for path in execute._imported("from helpers import gan", set())}
    assert {"gan", "store", "compute", "networks"} <= found and "echo" not in found


def test_a_module_changes_with_the_script_beside_it(workshop: Workshop, monkeypatch) -> None:
    monkeypatch.setattr(execute, "HELPERS", shutil.copytree(execute.HELPERS, workshop.folder / "helpers"))
    workshop.write("01_film", "from helpers import player")
    source = workshop.notebooks / "01_film.ipynb"
    before = execute.fingerprint(source, {})
    with open(execute.HELPERS / "player.js", "a") as script:
        script.write("// changed")
    assert execute.fingerprint(source, {}) != before


def test_reduced_parameters_belong_to_notebooks() -> None:
    for name, parameters in execute.reduced_parameters().items():
        execute.check_parameters(NOTEBOOKS / f"{name}.ipynb", parameters)


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [("JOBS", "0", "JOBS=0 must be"), ("RETRAIN", "yes", "RETRAIN=yes is unknown"), ("OTHER", "", "no parameter")],
)  # fmt: skip
def test_settings_without_sense_are_refused_before_anything_runs(
    workshop: Workshop, monkeypatch, capsys, variable: str, value: str, complaint: str
) -> None:
    workshop.write("01_good", "publish.say('fine')")
    table, folder = workshop.folder / "parameters.toml", workshop.folder / "build"
    table.write_text("[01_good]\n" + "epoch = 3\n" * (variable == "OTHER"))
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MODELS", str(workshop.folder))
    options = ["--notebooks", workshop.notebooks, "--build", folder, "--output", workshop.pdf, "--parameters", table]
    assert build.main([*map(str, options), "--reduced"]) == 1
    assert complaint in capsys.readouterr().err and not (folder / "01_good.ipynb").exists()
    with filelock.FileLock(folder / ".lock"):
        monkeypatch.delenv(variable)
        assert build.main([*map(str, options)]) == 1 and "another build is at work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("default", "good", "bad"),
    [("2**3", [4], [-1, 0, 2.5, True, "many", [3]]), ("0.5", [2], [-1]), ("[1]", [[7]], [[]]), ("[0.5]", [[1]], ["a"])],
)  # fmt: skip
def test_a_parameter_is_of_its_default_s_kind(workshop: Workshop, default: str, good: list, bad: list) -> None:
    workshop.write("01_good", parameters=f"wish = {default}")
    path = workshop.notebooks / "01_good.ipynb"
    for value in good:
        execute.check_parameters(path, {"wish": value})
    for value in bad:
        with pytest.raises(BuildError, match="01_good.ipynb: wish = .* of its default"):
            execute.check_parameters(path, {"wish": value})


def test_two_notebooks_run_at_once_and_the_first_failure_ends_the_other(workshop: Workshop) -> None:
    wait = "import pathlib, time\npathlib.Path({!r}).touch()\n"
    wait += "for _ in range(1200):\n    if pathlib.Path({!r}).exists():\n        break\n    time.sleep(0.05)\n"
    wait += "else:\n    1 / 0"
    names = [str(workshop.folder / name) for name in ("first", "second", "never")]
    workshop.write("01_one", wait.format(names[0], names[1]))
    workshop.write("02_two", wait.format(names[1], names[0]))
    together = workshop.build("--page", JOBS="2", OMP_NUM_THREADS="1")
    assert together.returncode == 0, together.stderr
    workshop.write("01_one", wait.format(names[0], names[2]))
    workshop.write("02_two", "raise ValueError('it is broken')")
    broken = workshop.build("--page", JOBS="2", OMP_NUM_THREADS="1")
    assert broken.returncode == 1 and "02_two.ipynb" in broken.stderr and "it is broken" in broken.stderr


WINDOWS = """import sys, zmq
sys.modules["fcntl"] = None
bind = zmq.Socket.bind
def refuse(self, address):
    if address.startswith("ipc"):
        raise zmq.ZMQError(msg="Protocol not supported")
    return bind(self, address)
zmq.Socket.bind = refuse
"""


@pytest.mark.parametrize("system", ["long temporary folder", "no fcntl and no ipc"])
def test_kernels_answer_on_other_systems(workshop: Workshop, tmp_path: Path, system: str) -> None:
    workshop.write("01_good", "publish.say('fine')")
    folder = tmp_path / ("x" * 110)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WINDOWS)
    variable = "TMPDIR" if system == "long temporary folder" else "PYTHONPATH"
    done = workshop.build("--page", **{variable: str(folder)})
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr


def test_hostile_names_are_printed_as_they_are(workshop: Workshop) -> None:
    workshop.write("01_good", "publish.say('fine')")
    author = r"""Zoë O'Ñeill, 李明 & Иван "100%" #1_{x}^2 ~ \input{a} $B `id` -- Ζωή"""
    done = workshop.build(AUTHOR=author, HOURS="<3 & more", COLLABORATORS="a_b; łódź")
    assert done.returncode == 0, done.stderr
    text = " ".join(workshop.text().replace("’", "'").split())
    parts = ("Zoë O'Ñeill", "李明 & Иван", '"100%" #1_{x}^2', r"\input{a} $B `id` -- Ζωή", "<3 & more", "a_b; łódź")
    assert [part for part in parts if part not in text] == []
    found = subprocess.run(["pdfinfo", workshop.pdf], capture_output=True, text=True, check=True).stdout
    assert f"Author:          {author}" in found


@pytest.mark.parametrize(
    ("markdown", "complaint"),
    [
        ("see [Nobody 1999](#cite-nobody1999)", "has no entry nobody1999"),
        ("see [figure](#fig-absent)", "fig-absent"),
        ("an unprintable \U0001f600", "Missing character"),
        ("$\\frac{1}$ and $}$", "xelatex stopped"),
        ("```\nopen", "leaves a code block"),
    ],
)
def test_unsound_text_is_refused(workshop: Workshop, markdown: str, complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        export.make_pdf(export.write_latex(workshop.merged(markdown), workshop.folder))


@pytest.mark.parametrize(
    ("markdown", "latex", "html"),
    [
        ("its [figure](#fig-x)", r"its \hyperref[fig-x]{figure~\ref*{fig-x}}", '<a href="#fig-x">figure\u00a07</a>'),
        ("The [figure](#fig-x)", r"\hyperref[fig-x]{Figure~\ref*{fig-x}}", '<a href="#fig-x">Figure\u00a07</a>'),
        ("[A & B 2014](#cite-a)", r"\hyperref[cite-a]{A and B (2014)}", '<a href="#cite-a">A and B (2014)</a>'),
        ("(so [A 2018, eq. 4](#cite-a))", r"(so \hyperref[cite-a]{A 2018, eq. 4})", 'cite-a">A 2018, eq. 4</a>)'),
        ("[notebook 4](04_gan.ipynb)", r"\hyperref[sec-gan]{notebook 4}", '<a href="#sec-gan">notebook 4</a>'),
        ("β and -3", r"\emph{β} and −3", "<em>β</em> and −3"),
        ("### At $\\beta \\to 0$", r"\subsubsection{At \texorpdfstring{\(\beta \to 0\)}{β → 0}}", r"<h4>At <span"),
        (r"$$a<b \label{eq:a}$$", r"\begin{equation}a<b \label{eq:a}\end{equation}", r"{equation}a&lt;b \label{eq:a}"),
        (r"by \eqref{eq:a}", r"by \eqref{eq:a}", r"\(\eqref{eq:a}\)"),
        ("so\n\n$$a$$\n\nholds", "so\n\\[a\\]\nholds", r'class="math display">\[a\]'),
        ("text\n- item", "\\begin{itemize}\n\\tightlist\n\\item\n  item\n\\end{itemize}", "<li>item</li>"),
        (prose.plain("a_b -- *c* | $d {#e}"), r"a\_b -\/- *c* \textbar{} \$d \{\#e\}", "a_b -- *c* | $d {#e}"),
    ],
)  # fmt: skip
def test_markdown_becomes_latex_and_html(markdown: str, latex: str, html: str) -> None:
    assert latex in prose.convert([markdown], "latex", {})[markdown]
    assert html in prose.convert([markdown], "html", {"fig-x": "7"})[markdown]


@pytest.mark.parametrize(
    ("column", "padded"),
    [
        (["1", "2.5", "-0.25"], ["1[.00]", "2.5[0]", "−0.25"]),
        (["1.35 ± 0.16", "48 ± 11", "**1**"], ["1.35~±~[0]0.16", "48[.00]~±~11[.00]", r"\textbf{1[.00][~±~][00][.00]}"]),  # noqa: E501
        (["5%", "12.5%", ""], [r"5[.0]\%", r"12.5\%", ""]),
        (["1.5", "2 to 3"], ["1.5", "2 to 3"]),
    ],
)  # fmt: skip
def test_decimal_points_align(column: list[str], padded: list[str]) -> None:
    table = "\n".join(["| | x |", "|:--|--:|", *(f"| a | {cell} |" for cell in column)])
    latex = re.sub(r"\\hphantom\{([^}]*)\}", r"[\1]", prose.convert([table], "latex", {})[table])
    assert re.findall(r"a & (.*?) ?\\\\", latex) == padded


def test_an_answer_is_printed_below_its_question(workshop: Workshop) -> None:
    workshop.write("01_only", "publish.say('Later.')", "publish.answer('RD-a', 'Yes.', 'Yes')")
    path = workshop.notebooks / "01_only.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells.insert(1, make.new_markdown_cell("> **RD-a.** Why?", metadata={"tags": ["question"]}))
    nbformat.write(notebook, path)
    done = workshop.build("--page")
    assert done.returncode == 0, done.stderr
    page = workshop.page.read_text(encoding="utf-8")
    body = page[page.index("<main") :]
    assert body.index("Why?") < body.index("Answer to RD-a") < body.index("Later.")


def test_a_claim_that_is_not_true_stops_a_full_report_only(workshop: Workshop) -> None:
    workshop.write("01_only", "publish.claim('Two is less than one.', 2 < 1)")
    full, reduced = workshop.build("--page"), workshop.build("--page", "--reduced")
    assert full.returncode == 1 and "01_only.ipynb: Two is less than one." in full.stderr
    assert reduced.returncode == 0, reduced.stderr


@pytest.mark.parametrize(("questions", "complaint"), [(["RD-z"], "no question"), (["RD-a", "RD-a"], "answered twice")])
def test_wrong_answers_are_refused(workshop: Workshop, questions: list[str], complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        workshop.merged("", *({"kind": "answer", "question": name, "text": "yes", "brief": ""} for name in questions))


def test_going_further_moves_to_the_appendix_and_leaves_a_line() -> None:
    text = make.new_markdown_cell
    cells = [text("# 1. Echo"), text("### Going further: the rest\nWhy."), make.new_code_cell("code")]
    cells += [text("#### Detail"), text("### Next"), text("## Going further: how fast"), text("### Race")]
    sources = [cell.source for cell in merge.arrange([("echo", cells), ("gan", [text("# 2. GAN")])])]
    assert sources[:2] == ["# 1. Echo", "### Next"] and sources[3] == "# 2. GAN"
    assert "[appendix](#sec-further): [the rest](#sec-further-echo-1); [how fast](#sec-further-echo-2)." in sources[2]
    assert sources[4].startswith("# Going further {#sec-further}")
    assert sources[5] == "## The rest {#sec-further-echo-1}\n\n*Continues [section](#sec-echo).* Why."
    assert sources[6:8] == ["code", "### Detail"] and sources[-1] == "### Race"
    *_, mark = merge.arrange([("echo", [text("# 1. Echo")])])
    assert mark.metadata.tags == ["appendix"] and mark.source == ""


@pytest.mark.parametrize(
    ("kinds", "tags"), [(["widget"], ["screen", "live"]), (["widget", "film"], ["screen"]), (["widget", "figure"], [])]
)
def test_sections_of_widgets_alone_are_for_the_screen(kinds: list[str], tags: list[str]) -> None:
    outputs = [make.new_output("display_data", {}, metadata={"report": {"kind": kind}}) for kind in kinds[1:]]
    cells = [make.new_code_cell("slider", metadata={"tags": ["widget"]}), make.new_code_cell("shown", outputs=outputs)]
    headings = [make.new_markdown_cell(words) for words in ("# 1. Echo", "## Walk")]
    _, heading, *_ = merge.arrange([("echo", [*headings, *cells])])
    assert heading.metadata.get("tags", []) == tags


def test_what_is_handed_in_builds_a_report_and_holds_no_data_models_or_caches(workshop: Workshop) -> None:
    pdf, code = submission.submit(ROOT, workshop.folder / "handed in")
    assert pdf.read_bytes() == (ROOT / "report" / "report.pdf").read_bytes()
    zipfile.ZipFile(code).extractall(workshop.folder)
    (copy,) = workshop.folder.glob("*-code")
    names = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert {"Makefile", "README.md", "pyproject.toml", "data/README.md", "report/report.toml", "COMMIT"} <= names
    for folder, pattern in (("helpers", "*.py"), ("notebooks", "*.ipynb"), ("report", "*.py"), ("tests", "*.py")):
        assert {f"{folder}/{path.name}" for path in (ROOT / folder).glob(pattern)} <= names
    suffixes = (".gz", ".safetensors", ".pdf", ".html", ".pyc")
    assert not [name for name in names if name.endswith(suffixes) or "build/" in name or "models/" in name]
    assert code.stat().st_size < 3e6
    workshop.write("01_small", "publish.say('fine')")
    command = [sys.executable, copy / "report" / "build.py", "--notebooks", workshop.notebooks]
    command += ["--build", workshop.folder / "build", "--output", workshop.pdf]
    settings = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, cwd=workshop.folder)
    assert done.returncode == 0, done.stderr
    assert (copy / facts.COMMIT_NOTE).read_text().strip() in workshop.text() and workshop.page.exists()


def test_without_a_report_nothing_is_handed_in(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="run `make report` first"):
        submission.submit(tmp_path, tmp_path / "handed in")
    assert list(tmp_path.iterdir()) == []
