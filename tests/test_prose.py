"""Markdown becomes LaTeX and HTML: references, citations, formulas, lists, names as they are, aligned tables."""

import re

import prose
import pytest

pytestmark = pytest.mark.usefixtures("tex")


@pytest.mark.parametrize(
    ("markdown", "latex", "html"),
    [
        ("its [figure](#fig-x)", r"its \hyperref[fig-x]{figure~\ref*{fig-x}}", '<a href="#fig-x">figure\u00a07</a>'),
        ("The [figure](#fig-x)", r"\hyperref[fig-x]{Figure~\ref*{fig-x}}", '<a href="#fig-x">Figure\u00a07</a>'),
        ("[A & B 2014](#cite-a)", r"\hyperref[cite-a]{A and B (2014)}", '<a href="#cite-a">A and B (2014)</a>'),
        ("(so [A 2018, eq. 4](#cite-a))", r"(so \hyperref[cite-a]{A 2018, eq. 4})", 'cite-a">A 2018, eq. 4</a>)'),
        ("[notebook 4](04_gan.ipynb)", r"\hyperref[sec-gan]{notebook 4}", '<a href="#sec-gan">notebook 4</a>'),
        ("β and -3", r"\emph{β} and −3", "<em>β</em> and −3"),
        ("### At $\\beta \\to 0$", r"\subsubsection{At \texorpdfstring{\(\beta \to 0\)}{β → 0}}", "<h2>At <math"),
        (r"$$a<b \label{eq:a}$$", r"\begin{equation}a<b \label{eq:a}\end{equation}", '<span class="tag">(2)</span>'),
        (r"by \eqref{eq:a}", r"by \eqref{eq:a}", 'by <a href="#eq:a">(2)</a>'),
        ("[equation](#eq:a)", "equation~\\(\\eqref{eq:a}\\)", '<a href="#eq:a">equation\u00a0(2)</a>'),
        ("so\n\n$$a$$\n\nholds", "so\n\\[a\\]\nholds", '<span class="scroll"><math display="block">'),
        ("text\n- item", "\\begin{itemize}\n\\tightlist\n\\item\n  item\n\\end{itemize}", "<li>item</li>"),
        (prose.plain("a_b -- *c* | $d {#e}"), r"a\_b -\/- *c* \textbar{} \$d \{\#e\}", "a_b -- *c* | $d {#e}"),
    ],
)  # fmt: skip
def test_markdown_becomes_latex_and_html(markdown: str, latex: str, html: str) -> None:
    assert latex in prose.convert([markdown], "latex", {})[markdown]
    assert html in prose.convert([markdown], "html", {"fig-x": "7", "eq:a": "2"})[markdown]


@pytest.mark.parametrize(
    ("column", "padded"),
    [
        (["1", "2.5", "-0.25"], [" 1   ", " 2.5 ", "−0.25"]),
        (["1.35 ± 0.16", "48 ± 11", "**1**"], [" 1.35~±~ 0.16", "48   ~±~11   ", r"\textbf{ 1           }"]),
        (["5%", "12.5%", ""], [r" 5  \%", r"12.5\%", ""]),
        (["1.5", "2 to 3"], ["1.5", "2 to 3"]),
    ],
)  # fmt: skip
def test_decimal_points_align(column: list[str], padded: list[str]) -> None:
    table = "\n".join(["| | x |", "|:--|--:|", *(f"| a | {cell} |" for cell in column)])
    latex = prose.convert([table], "latex", {})[table].replace(r"\hphantom{~±~}", "   ")
    boxes = r"\\makebox\[\\widthof\{([^}]*)\}\]\[(.)\]\{([^}]*)\}"
    latex = re.sub(boxes, lambda box: f"{box[3]:{'>' if box[2] == 'r' else '<'}{len(box[1])}}", latex)
    assert re.findall(r"a & (.*?) \\\\", latex) == padded
