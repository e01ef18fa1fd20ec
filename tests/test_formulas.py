"""Formulas of the page: TeX's spaces, upright words, fences, accents, limits and lines, as elements of MathML."""

import itertools
import re
import xml.etree.ElementTree as ET

import formulas
import numbering
import prose
import pytest
from conftest import skip_without

THIN, MEDIUM, THICK = "0.167em", "0.222em", "0.278em"


@pytest.fixture(scope="module", autouse=True)
def pandoc() -> None:
    skip_without("pandoc")


def page(markdown: str, **numbers: str) -> str:
    return prose.convert([markdown], "html", numbers)[markdown]


def maths(markdown: str) -> list[ET.Element]:
    """The formulas of a text, without the TeX that they carry."""
    found = [ET.fromstring(math) for math in re.findall(f"(?s){formulas.MATH}", page(markdown))]
    for math in found:
        for parent in math.iter("semantics"):
            parent.remove(parent.find("annotation"))
    return found


def spaces(tex: str) -> list[tuple[str, str, str]]:
    """The operators of a formula in the text, with the spaces before and after them."""
    (math,) = maths(f"${tex}$")
    return [(mo.text, mo.get("lspace"), mo.get("rspace")) for mo in math.iter("mo")]


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("a+b", [("+", MEDIUM, MEDIUM)]),
        ("-b", [("−", "0", "0")]),
        ("a=-b", [("=", THICK, "0"), ("−", THICK, "0")]),
        ("10^{-3}", [("−", "0", "0")]),
        ("x_{i=1}", [("=", "0", "0")]),
        (r"2\log x", [("log", THIN, THIN)]),
        (r"\log(x)", [("log", "0", "0"), ("(", "0", "0"), (")", "0", "0")]),
        ("f(a,b)", [("(", "0", "0"), (",", "0", THIN), (")", "0", "0")]),
        ("q(z|x)", [("(", "0", "0"), ("|", "0", "0"), (")", "0", "0")]),
        (r"q(z\mid x)", [("(", "0", "0"), ("∣", THICK, THICK), (")", "0", "0")]),
        (
            r"\log|\det S|)",
            [("log", "0", "0"), ("|", THIN, "0"), ("det", THIN, THIN), ("|", "0", "0"), (")", "0", "0")],
        ),
        (r"\lVert a\rVert b", [("‖", "0", "0"), ("‖", "0", "0")]),
        (r"a\parallel b", [("∥", THICK, THICK)]),
        (r"\min_Z U", [("min", "0", THIN)]),
        (r"z_1, \dots, z_T", [(",", "0", THIN), (",", THIN, THIN)]),
        (
            r"y\leftarrow\mathbb R^{(T-1)\times d}",
            [("←", THICK, THICK), ("(", "0", "0"), ("−", "0", "0"), (")", "0", "0"), ("×", "0", "0")],
        ),
    ],
)
def test_operators_have_the_spaces_of_tex(tex: str, expected: list[tuple[str, str, str]]) -> None:
    assert spaces(tex) == expected


@pytest.mark.parametrize(
    ("tex", "tag", "text", "attributes"),
    [
        (r"\mathrm dt", "mi", "d", {"mathvariant": "normal"}),
        (r"x_{\mathrm{real}}", "mi", "real", {}),
        (r"\Sigma", "mi", "Σ", {"mathvariant": "normal"}),
        (r"\sigma", "mi", "σ", {}),
        (r"\hat x", "mo", "ˆ", {"stretchy": "false"}),
        (r"\dot Z", "mo", "˙", {"stretchy": "false"}),
        (r"\widehat{ab}", "mo", "\u0302", {"stretchy": "true"}),
        (r"\Bigl(x\Bigr)", "mo", "(", {"minsize": "1.45em", "stretchy": "true"}),
        (r"\bigl(x\bigr)", "mo", "(", {"style": "font-size: 1.2em", "stretchy": "false"}),
        (r"(\frac12)", "mo", "(", {"stretchy": "false"}),
        (r"\left(\frac12\right)", "mo", "(", {"stretchy": "true"}),
        (r"\begin{pmatrix}a\\b\end{pmatrix}", "mo", "(", {"stretchy": "true"}),
        (r"\square", "mi", "□", {}),
        (r"\limsup x", "mo", "lim sup", {}),
        (r"\text{as words}", "mtext", "as words", {}),
    ],
)
def test_letters_fences_and_accents(tex: str, tag: str, text: str, attributes: dict[str, str]) -> None:
    (math,) = maths(f"${tex}$")
    node = next(node for node in math.iter(tag) if node.text == text)
    assert attributes.items() <= node.attrib.items() and ("mathvariant" in attributes) == ("mathvariant" in node.attrib)


def shape(node: ET.Element) -> str:
    """An element as msup(a, 2)."""
    return node.text or f"{node.tag}({', '.join(map(shape, node))})"


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("$W_1$", "msub(W, 1)"),
        ("$z'$", "z, ′"),
        ("$z'_1$", "msubsup(z, 1, ′)"),
        ("$a(b)^2$", "a, (, b, msup(), 2)"),
        ("$$\\sup_x f$$", "munder(sup, x), f"),
        ("$\\frac{(a)}{\\lVert r\\rVert}$", "mfrac(mrow((, a, )), mrow(‖, r, ‖))"),
        ("$$\\frac{\\sup_x f}2$$", "mfrac(mrow(msub(sup, x), f), 2)"),
    ],
)
def test_scripts_are_those_of_tex(markdown: str, expected: str) -> None:
    (math,) = maths(markdown)
    (row,) = math.find("semantics")
    assert ", ".join(map(shape, row if row.tag == "mrow" else [row])) == expected


def test_rows_are_aligned_at_their_signs() -> None:
    (math,) = maths("$$\\begin{aligned} a &= b\\\\ &= c \\end{aligned}$$")
    (table,) = math.iter("mtable")
    assert table.get("displaystyle") == "true"
    assert [cell.get("columnalign") for cell in table.iter("mtd")] == ["right", "left"] * 2
    assert all("padding: 0.3em 0" in cell.get("style") for cell in table.iter("mtd"))
    assert [mo.get("lspace") for mo in table.iter("mo")] == [THICK, THICK]


def test_no_line_begins_between_a_formula_and_its_punctuation() -> None:
    text = page("so ($x$), $y$-axis; $z$ and\n$$w ,$$\nwhere")
    kept = re.findall(r'<span class="whole">(.*?)<math.*?</math>(.*?)</span>', text)
    assert kept == [("(", "),"), ("", "-axis;")] and text.count("<math") == 4


def test_a_long_formula_in_the_text_is_divided_at_signs_outside_parentheses() -> None:
    sums = "abcdefg+(hijkl+mnopq)+rstuvw"
    parts = [shape(part) for part in maths(f"${sums} = x$ and $a = b$")]
    ends = [re.findall(r"[^,() ]+", part)[-1] for part in parts]
    assert ends == ["+", "+", "=", "x", "b"] and len(maths(f"$${sums} = x$$")) == 1
    assert page(f"${sums}$").count("<annotation") == 1


def test_formulas_in_plain_words() -> None:
    said = formulas.words(
        page(r"*So* $\lVert x_A - x_B\rVert^2 \le \hat y/2$, $\tfrac12\sqrt{n+1}$ & $10^{-3}$, $-\log s$.")
    )
    assert said == "So ‖x_A − x_B‖² ≤ ŷ/2, 1/2√(n + 1) & 10⁻³, − log s."


@pytest.mark.parametrize(
    ("markdown", "tags"),
    [
        (r"$$a \label{x}$$", 1),
        ("$$a$$", 0),
        (r"\begin{equation}a\end{equation}", 1),
        (r"\begin{align}a\\b\end{align}", 2),
        (r"\begin{align}a\notag\\b\end{align}", 1),
        (r"\begin{align*}a\\b\end{align*}", 0),
        (r"\begin{equation}\begin{aligned}a\\b\end{aligned}\end{equation}", 1),
    ],
)
def test_equations_are_tagged_as_they_are_counted(markdown: str, tags: int) -> None:
    tagged = numbering.tagged(markdown, itertools.count(7))
    assert re.findall(r"\\tag\{(\d+)\}", tagged) == [str(7 + place) for place in range(tags)]
    assert len([*numbering.equations(markdown)]) == tags and re.sub(r"\\tag\{\d+\}", "", tagged) == markdown


def test_the_number_stands_beside_the_formula_and_the_label_is_an_anchor() -> None:
    text = page(r"$$a \label{eq:x}\tag{3}$$")
    opening, ending = (
        '<p><span class="display" id="eq:x"><span class="scroll"><math ',
        '<span class="tag">(3)</span></span></p>',
    )
    assert text.startswith(opening) and text.endswith(f"</math></span>{ending}")
    assert "tag{" not in text and "label{" not in text


def test_each_row_has_its_number_in_a_last_column() -> None:
    text = page(
        "\\begin{align} a &= b \\label{eq:x}\\tag{3}\\\\ c &= d \\label{eq:y}\\tag{4}\\\\ e &= f \\notag \\end{align}"
    )
    assert '<span class="display rows" id="eq:x">' in text and '<span id="eq:y"></span>' in text
    assert re.findall(r"<mtext>(.*?)</mtext>", text) == ["(3)", "(4)", ""] and 'class="tag"' not in text
