"""Where sections stand in the report, and how its tables align."""

import decimals
import nbformat
import pytest
from arrange import arrange

make = nbformat.v4


def text(source: str) -> nbformat.NotebookNode:
    return make.new_markdown_cell(source)


def shown(kind: str) -> nbformat.NotebookNode:
    output = make.new_output("display_data", {}, metadata={"report": {"kind": kind}})
    return make.new_code_cell(kind, outputs=[output])


def widget() -> nbformat.NotebookNode:
    return make.new_code_cell("slider", metadata={"tags": ["widget"]})


def test_going_further_moves_to_the_appendix_and_leaves_a_line() -> None:
    cells = [
        text("# 1. Echo"),
        text("### Going further: the rest\nWhy."),
        shown("prose"),
        text("#### Detail"),
        text("### Next"),
        text("## Going further: how fast"),
        text("### Race"),
    ]
    sources = [cell.source for cell in arrange([("echo", cells), ("gan", [text("# 2. GAN")])])]
    assert sources[:2] == ["# 1. Echo", "### Next"] and sources[3] == "# 2. GAN"
    assert "[appendix](#sec-further): [the rest](#sec-further-echo-1); [how fast](#sec-further-echo-2)." in sources[2]
    assert sources[4].startswith("# Going further {#sec-further}")
    assert sources[5] == "## The rest {#sec-further-echo-1}\n\n*Continues [section](#sec-echo).* Why."
    assert sources[6:8] == ["prose", "### Detail"] and sources[-1] == "### Race"


def test_nothing_to_move_leaves_only_the_mark_of_the_appendix() -> None:
    *_, mark = arrange([("echo", [text("# 1. Echo")])])
    assert mark.metadata.tags == ["appendix"] and mark.source == ""


@pytest.mark.parametrize(
    ("cells", "tags"),
    [([widget()], ["screen", "live"]), ([widget(), shown("film")], ["screen"]), ([widget(), shown("figure")], [])],
)
def test_sections_of_widgets_alone_are_for_the_screen(cells: list, tags: list[str]) -> None:
    _, heading, *_ = arrange([("echo", [text("# 1. Echo"), text("## Walk"), *cells])])
    assert heading.metadata.get("tags", []) == tags


@pytest.mark.parametrize(
    ("column", "padded"),
    [
        (["1", "2.5", "-0.25"], ["1.__", "2.5_", "-0.25"]),
        (["1.35 ± 0.16", "48 ± 11", "0.5"], ["1.35~±~_0.16", "48.__~±~11.__", "0.5_=__.__"]),
        (["5%", "12.5%", ""], ["5._%", "12.5%", ""]),
        (["1.5", "2 to 3"], ["1.5", "2 to 3"]),
    ],
)
def test_decimal_points_align(column: list[str], padded: list[str]) -> None:
    names = {"\u00a0": "~", decimals.DIGIT: "_", decimals.PLUS_MINUS: "="}
    found = ["".join(names.get(c, c) for c in cell) for cell in decimals.align(column)]
    assert [cell.replace(decimals.POINT, ".") for cell in found] == padded
