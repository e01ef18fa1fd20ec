"""The notebooks as one: answers below their questions, claims that hold, going further in the appendix."""

import merge
import nbformat
import pytest
from conftest import Workshop
from errors import BuildError

make = nbformat.v4
ANSWER = {"kind": "answer", "question": "RD-a", "text": "Yes.", "brief": ""}
CLAIM = {"kind": "refuted", "sentence": "Two is less than one.", "condition": "2 < 1"}


def test_an_answer_stands_below_its_question(workshop: Workshop) -> None:
    whole = workshop.merged("> **RD-a.** Why?", ANSWER, tags=["question"])
    (place,) = (k for k, cell in enumerate(whole.cells) if "Why?" in cell.source)
    assert [output.metadata.report.kind for output in whole.cells[place + 1].outputs] == ["answer"]
    assert not any(cell.get("outputs") for cell in whole.cells[:place])


def test_what_is_not_confirmed_is_listed_and_a_failed_check_is_printed_as_marked_prose(workshop: Workshop) -> None:
    numbers = {"computed": 1, "expected": 2, "tolerance": 1}
    passed = {"kind": "check", "name": "good", "passed": True, **numbers}
    failed = passed | {"name": "bad", "passed": False}
    whole = workshop.merged("", passed, CLAIM, failed, passed)
    outputs = [output.metadata.report for cell in whole.cells for output in cell.get("outputs", [])]
    assert [fact.kind for fact in outputs] == ["checks", "prose", "checks"]
    listed = ["01_only.ipynb: Two is less than one. (false: 2 < 1)", "01_only.ipynb: bad"]
    assert whole.metadata.report.unconfirmed == listed and len(whole.metadata.report.checks) == 3


@pytest.mark.parametrize(("questions", "complaint"), [(["RD-z"], "no question"), (["RD-a", "RD-a"], "answered twice")])
def test_wrong_answers_are_refused(workshop: Workshop, questions: list[str], complaint: str) -> None:
    with pytest.raises(BuildError, match=complaint):
        workshop.merged("", *(ANSWER | {"question": name} for name in questions))


def test_going_further_moves_to_the_appendix_and_leaves_a_line() -> None:
    text = make.new_markdown_cell
    cells = [text("# 1. Echo"), text("### Going further: the rest\nWhy."), make.new_code_cell("code")]
    cells += [text("#### Detail"), text("### Next"), text("## Going further: how fast?"), text("### Race")]
    sources = [cell.source for cell in merge.arrange([("echo", cells), ("gan", [text("# 2. GAN")])])]
    assert sources[:2] == ["# 1. Echo", "### Next"] and sources[3] == "# 2. GAN"
    listed = "[appendix](#sec-further): [the rest](#sec-further-echo-1); [how fast?](#sec-further-echo-2)"
    assert sources[2].endswith(listed)  # a question needs no full stop
    assert sources[4].startswith("# Going further {#sec-further}")
    assert sources[5] == "## The rest {#sec-further-echo-1}\n\n*Continues [chapter](#sec-echo).* Why."
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
