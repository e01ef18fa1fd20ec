"""The notebooks as one: answers below their questions, claims that hold, going further in the appendix."""

import merge
import nbformat
import numbering
import pytest
from conftest import Workshop
from errors import BuildError
from nbformat import NotebookNode

from helpers.show import publish, references
from helpers.show.references import Place

make = nbformat.v4
ANSWER = {"kind": "answer", "question": "RD-a", "text": "Yes.", "brief": ""}
FIGURE = {"kind": "figure", "label": "fig-x", "caption": "A caption.", "width": 1.0}
CLAIM = {"kind": "refuted", "sentence": "Two is less than one.", "condition": "2 < 1"}


def test_an_answer_stands_below_its_question(workshop: Workshop) -> None:
    whole = workshop.merged("> **RD-a.** Why?", ANSWER, tags=["question"])
    (place,) = (k for k, cell in enumerate(whole.cells) if "Why?" in cell.source)
    assert [output.metadata.report.kind for output in whole.cells[place + 1].outputs] == ["answer"]
    assert not any(cell.get("outputs") for cell in whole.cells[:place])


def test_what_is_not_confirmed_is_listed_and_a_failed_check_is_printed_as_marked_prose(workshop: Workshop) -> None:
    numbers = {"computed": 1, "expected": 2, "tolerance": 1}
    passed = {"kind": "check", "name": "good", "passed": True, **numbers}
    failed = passed | {"name": "bad", "passed": False, "text": "**bad**"}
    whole = workshop.merged("", passed, CLAIM, failed, passed)
    outputs = [output.metadata.report for cell in whole.cells for output in cell.get("outputs", [])]
    assert [fact.kind for fact in outputs] == ["checks", "prose", "checks"]
    listed = ["01_only.ipynb: Two is less than one. (false: 2 < 1)", "01_only.ipynb: bad"]
    assert whole.metadata.report.unconfirmed == listed and len(whole.metadata.report.checks) == 3


@pytest.mark.parametrize(("questions", "complaint"), [(["RD-z"], "no question"), (["RD-a", "RD-a"], "answered twice")])
def test_wrong_answers_are_refused(workshop: Workshop, questions: list[str], complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        workshop.merged("", *(ANSWER | {"question": name} for name in questions))


def text(source: str, *tags: str) -> NotebookNode:
    return make.new_markdown_cell(source, metadata={"tags": list(tags)})


def code(*facts: dict, tags: tuple[str, ...] = (), source: str = "") -> NotebookNode:
    outputs = [make.new_output("display_data", metadata={"report": fact}) for fact in facts]
    return make.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


def joined(*cells: NotebookNode) -> NotebookNode:
    """The notebook 01_only.ipynb with these cells, as it is merged."""
    report = {"answers": [], "checks": [], "unconfirmed": []}
    notebook = make.new_notebook(cells=[text("# 1. Only"), *cells])
    return merge.joined([merge.chapter("01_only", notebook, report)])


def facts(whole: NotebookNode, kind: str) -> list[NotebookNode]:
    found = [output.metadata.report for cell in whole.cells for output in cell.get("outputs", [])]
    return [fact for fact in found if fact.kind == kind]


def test_each_verdict_begins_the_answer_to_the_nearest_question_above_it() -> None:
    answers = [ANSWER | {"question": name, "text": words} for name, words in (("RD-c", "Not: RD-d."), ("RD-d", "So."))]
    first, second, last = (text(f"> **RD-{letter}.** Unlike RD-c?", "question") for letter in "cde")
    yes, no = text("> **Yes, they do.**", "verdict"), text("> **No.**", "verdict")
    others = [second, no, code(answers[1]), last, code(ANSWER | {"question": "RD-e"})]
    whole = joined(first, yes, code(answers[0]), *others)
    assert [fact.get("verdict") for fact in facts(whole, "answer")] == ["**Yes, they do.**", "**No.**", None]
    assert not any("Yes, they do" in cell.source for cell in whole.cells)


def test_the_verdict_of_an_answer_that_is_not_confirmed_is_marked_too() -> None:
    answer = ANSWER | {"text": publish.not_confirmed("They differ.")}
    whole = joined(text("> **RD-a.** Why?", "question"), text("> **Yes.**", "verdict"), code(answer))
    assert facts(whole, "answer")[0].verdict == "**⚠ Not confirmed in this run:** ~~**Yes.**~~"


def test_a_verdict_without_an_answer_stays_where_it_is() -> None:
    whole = joined(text("> **RD-a.** Why?", "question"), text("> **Yes.**", "verdict"))
    assert "**Yes.**" in [cell.source for cell in whole.cells]


@pytest.mark.parametrize(
    ("before", "complaint"),
    [([], "has no question above it"), ([text("> **RD-a.**", "question"), text("> **No.**", "verdict")], "the second")],
)
def test_verdicts_without_a_place_are_refused(before: list, complaint: str) -> None:
    with pytest.raises(BuildError, match=rf"01_only.ipynb: the verdict '\*\*Yes.\*\*' .*{complaint}"):
        joined(*before, text("> **Yes.**", "verdict"), code(ANSWER))


@pytest.mark.parametrize("kind", ["film", "play"])
def test_the_figure_that_prints_frames_of_a_film_is_marked(kind: str) -> None:
    film = {"kind": kind, "caption": "It moves.", "still": "fig-x"}
    other = FIGURE | {"label": "fig-y"}
    assert [fact.get("moving") for fact in facts(joined(code(FIGURE, film, other)), "figure")] == [True, None]
    with pytest.raises(BuildError, match="a film names 'fig-x'"):
        joined(code(film, other))
    with pytest.raises(BuildError, match="a film names 'fig-x'"):
        joined(code(FIGURE, tags=("opening",)), code(film))


def test_the_opening_picture_stands_first_and_has_no_number() -> None:
    picture = FIGURE | {"label": "fig-opening"}
    whole = joined(code(FIGURE), code(picture, {"kind": "prose", "text": "Words."}, tags=("opening", "show")))
    (cell,) = [cell for cell in whole.cells if "opening" in cell.metadata.get("tags", [])]
    assert cell is whole.cells[0] and [output.metadata.report.label for output in cell.outputs] == ["fig-opening"]
    assert [fact.text for fact in facts(whole, "prose")] == ["Words."]
    assert numbering.number(whole)[0] == {"sec-only": "1", "fig-x": "1"}


@pytest.mark.parametrize("figures", [[], [FIGURE, FIGURE]])
def test_there_is_one_opening_picture_at_most(figures: list[dict]) -> None:
    with pytest.raises(BuildError, match="01_only.ipynb: .* publish"):
        joined(*(code(figure, tags=("opening",)) for figure in figures or [ANSWER]))
    with pytest.raises(BuildError, match="01_only.ipynb: 1 cells with the tag 'opening' publish [02] figures"):
        joined(code(*figures, tags=("opening",)))


def test_a_cell_that_shows_its_code_keeps_its_checks_and_marks_those_that_fail() -> None:
    passed = {"kind": "check", "name": "good", "passed": True}
    failed = passed | {"passed": False, "text": "**bad**"}
    whole = joined(code(passed), code(passed, passed, failed, tags=("show",)))
    assert [len(fact.checks) for fact in facts(whole, "checks")] == [1, 2], "the code stands between them"
    assert [fact.text for fact in facts(whole, "prose")] == ["**bad**"]


def test_a_cell_that_shows_its_code_prints_its_text_but_not_the_names_of_pictures() -> None:
    cell = code({"kind": "prose", "text": "Words."}, tags=("show",))
    cell.outputs += [make.new_output("stream", text="1.5 nats"), make.new_output("stream", name="stderr", text="50%")]
    for data in ({"text/plain": "<Figure>", "image/png": "x"}, {"text/plain": "", "text/markdown": "*A caption.*"}):
        cell.outputs.append(make.new_output("display_data", data))
    whole = joined(cell)
    assert [output.metadata.report.kind for output in whole.cells[1].outputs] == ["prose", "text"]


def test_numbers_anchors_and_the_list_of_sources_of_a_notebook_are_not_printed() -> None:
    written = "See [figure](#fig-x), $\\eqref{eq:x}$:\n\n$$a \\label{eq:x}$$"
    places = {"fig-x": Place("7", ""), "eq:x": Place("9", "")}
    shown, listed = references.numbered(written, places), text("## References", "references")
    whole = joined(text(shown), code({"kind": "prose", "text": written}), listed)
    assert "[figure 7]" in shown and [cell.source for cell in whole.cells[:2]] == ["# Only {#sec-only}", written]
    assert not any("References" in cell.source for cell in whole.cells)


def test_going_further_moves_to_the_appendix_and_leaves_a_line() -> None:
    cells = [text("# 1. Echo"), text("### Going further: the rest\nWhy."), make.new_code_cell("code")]
    cells += [text("#### Detail"), text("### Next"), text("## Going further: how fast?"), text("### Race")]
    sources = [cell.source for cell in merge.arrange([("echo", cells), ("gan", [text("# 2. GAN")])])]
    assert sources[:2] == ["# 1. Echo", "### Next"] and sources[3] == "# 2. GAN"
    assert sources[2] == "*Going further:* [section](#sec-further-echo-1) to [section](#sec-further-echo-2)."
    assert sources[4].startswith("# Going further {#sec-further}")
    assert sources[5] == "## The rest {#sec-further-echo-1}\n\n*Continues [chapter](#sec-echo).* Why."
    assert sources[6:8] == ["code", "### Detail"] and sources[-1] == "### Race"
    *_, mark = merge.arrange([("echo", [text("# 1. Echo")])])
    assert mark.metadata.tags == ["appendix"] and mark.source == ""


@pytest.mark.parametrize(
    ("kinds", "tags"),
    [
        (["widget"], ["screen", "live"]), (["widget", "film"], ["screen"]), (["widget", "film", "play"], ["screen"]),
        (["widget", "figure"], []),
    ],
)  # fmt: skip
def test_sections_of_widgets_alone_are_for_the_screen(kinds: list[str], tags: list[str]) -> None:
    outputs = [make.new_output("display_data", {}, metadata={"report": {"kind": kind}}) for kind in kinds[1:]]
    cells = [make.new_code_cell("slider", metadata={"tags": ["widget"]}), make.new_code_cell("shown", outputs=outputs)]
    headings = [make.new_markdown_cell(words) for words in ("# 1. Echo", "## Walk")]
    _, heading, *_ = merge.arrange([("echo", [*headings, *cells])])
    assert heading.metadata.get("tags", []) == tags
