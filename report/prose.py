"""Markdown to LaTeX: all texts of the report in one run of pandoc, references and citations resolved on the way."""

import contextlib
import functools
import re
import subprocess
import unicodedata
from pathlib import Path

import decimals
import pygments
import tree
from fontTools.ttLib import TTFont
from pygments.formatters import LatexFormatter
from pygments.lexers import PythonLexer, TextLexer

TOGETHER = 28  # a function of fewer lines stays on one page
DISPLAY = r"\\\[|\\begin\{(?:equation|align|gather|multline)\*?\}"
DISPLAY_END = r"\\\]|\\end\{(?:equation|align|gather|multline)\*?\}"
SPECIAL = {character: "\\" + character for character in "{}$&#%_"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "-": "-{}",  # which would join into ligatures
}  # fmt: skip
SPACES = {"\u00a0": "~", "\u2009": r"\,", "\u202f": r"\,"} | {
    decimals.DIGIT: r"\phantom{0}", decimals.POINT: r"\phantom{.}", decimals.PLUS_MINUS: r"\phantom{~±~}",
}  # fmt: skip


def convert(texts: list[str]) -> dict[str, str]:
    """LaTeX of each Markdown text."""
    trees = {text: _resolve(blocks) for text, blocks in tree.read(texts).items()}
    return {text: _joined(latex) for text, latex in tree.write(trees, "latex").items()}


def _joined(latex: str) -> str:
    """A formula belongs to its sentence, and so does what goes on after it."""
    latex = re.sub(rf"\n{{2,}}(?={DISPLAY})", "\n", latex)
    return re.sub(rf"({DISPLAY_END})\n{{2,}}(?=[a-z])", r"\1\n", latex)


def _raw(latex: str) -> dict:
    return {"t": "RawInline", "c": ["latex", latex]}


def _resolve(node, inside: int = 0):
    """The syntax tree with links, tables, code and rare characters replaced by what the template defines."""
    if isinstance(node, list):
        result, depth = [], inside
        for child in node:
            if isinstance(child, dict) and child.get("t") == "Str":
                depth += child["c"].count("(") - child["c"].count(")")
                result += _pieces(child["c"])
            else:
                result.append(_resolve(child, depth))
                if tree.is_place(child):
                    _capital(result)
        return result
    if not isinstance(node, dict) or "c" not in node:
        return node
    kind, content = node["t"], node["c"]
    if kind == "Link":
        return _link(content, inside > 0) or {"t": kind, "c": [content[0], _resolve(content[1]), content[2]]}
    if kind == "Table":
        return _table(content)
    if kind == "Header":
        return _heading(content)
    if kind == "Math":
        return _numbered(content[1]) or node
    if kind == "CodeBlock":
        return {"t": "RawBlock", "c": ["latex", highlight(content[1], "python" in content[0][1])]}
    if kind.startswith("Raw") and content[0] == "html":
        anchor = re.search(r'<a [^>]*(?:id|name)="([^"]+)"', content[1])
        return _raw(rf"\phantomsection\label{{{anchor[1]}}}") if anchor else {"t": kind, "c": content}
    if kind in ("Code", "RawInline", "RawBlock"):
        return node
    return {"t": kind, "c": _resolve(content, inside)}


def _heading(content: list) -> dict:
    """A section; its formulas also as plain letters, for the PDF's bookmarks."""
    level, (label, *_), inlines = content
    parts = [
        _raw(rf"\texorpdfstring{{\({part['c'][1]}\)}}{{{_letters(part['c'][1])}}}") if part["t"] == "Math" else part
        for part in inlines
    ]
    name = ("section", "subsection", "subsubsection", "paragraph")[min(level, 4) - 1]
    end = _raw("}" + (rf"\label{{{label}}}" if label else ""))
    return {"t": "Para", "c": [_raw(rf"\{name}{{"), *_resolve(parts), end]}


def _letters(formula: str) -> str:
    r"""A short formula without TeX: \beta \to 0 becomes β → 0."""
    named = {"to": "→", "infty": "∞", "cdot": "·", "le": "≤", "ge": "≥"}
    for name in re.findall(r"\\([A-Za-z]+)", formula):
        if name not in named:
            with contextlib.suppress(KeyError):
                named[name] = unicodedata.lookup(f"GREEK {'SMALL' if name.islower() else 'CAPITAL'} LETTER {name}")
    plain = re.sub(r"\\([A-Za-z]+)", lambda match: named.get(match[1], ""), formula)
    return escape(re.sub(r"[\\{}$^_]", "", plain), rare=False)


def _numbered(formula: str) -> dict | None:
    """Display math that is, or asks to be, an equation with a number; MathJax also takes it between $$."""
    if re.match(r"\s*\\begin\{(equation|align|gather|multline)\*?\}", formula):
        return _raw(formula.strip())
    return _raw(rf"\begin{{equation}}{formula.strip()}\end{{equation}}") if r"\label{" in formula else None


def _capital(inlines: list) -> None:
    """The last inline is a reference; without "The" before it, it begins the sentence."""
    if tree.drop_article(inlines):
        inlines[-1]["c"][1] = re.sub(r"\]\{(\w)", lambda m: "]{" + m[1].upper(), inlines[-1]["c"][1])


def _link(content: list, in_parentheses: bool) -> dict | None:
    """A link inside the report: [figure](#fig-x), [Kingma 2014, eq. 3](#cite-kingma2014), [there](04_gan.ipynb)."""
    target, words = content[2][0], tree.words(content[1]).replace("\u00a0", " ")
    notebook = re.fullmatch(r"(?:\./)?\d\d_(\w+)\.ipynb", target)
    if notebook:
        return _raw(rf"\hyperref[sec-{notebook[1]}]{{{escape(words)}}}")
    if not target.startswith("#"):
        return None
    label = target[1:]
    if label.startswith("cite-"):
        detail = re.search(r"\d{4}\w?\)?,\s*(.+)$", words)
        option = f"[{escape(detail[1]).replace('. ', '.~')}]" if detail else ""
        return _raw(rf"\cite{'alt' if in_parentheses else 't'}{option}{{{label.removeprefix('cite-')}}}")
    if words.lower() in tree.PLACES:
        number = rf"\eqref{{{label}}}" if words.lower() == "equation" else rf"\ref*{{{label}}}"
        return _raw(rf"\hyperref[{label}]{{{words}~{number}}}")
    return _raw(rf"\hyperref[{label}]{{{escape(words)}}}")


def _table(content: list) -> dict:
    """A table of natural column widths, ruled as booktabs does; header cells stand as their columns do."""
    decimals.align_table(content)
    _, _, columns, head, bodies, _ = content
    rows = [[cell[4] for cell in row[1]] for row in head[1] + [row for body in bodies for row in body[3]]]
    align = "".join({"AlignRight": "r", "AlignCenter": "c"}.get(column[0]["t"], "l") for column in columns)
    parts = [_raw(rf"\begin{{reporttable}}{{@{{}}{align}@{{}}}}\toprule ")]
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            parts += ([_raw(" & ")] if column else []) + [p for block in cell for p in _resolve(block["c"])]
        parts.append(_raw(r" \\ \midrule " if number == len(head[1]) - 1 else r" \\ "))
    return {"t": "Plain", "c": [*parts, _raw(r"\bottomrule\end{reporttable}")]}


def highlight(code: str, python: bool = True) -> str:
    """A listing in the template's environment `Code`, which page ends divide only between functions."""
    lexer = PythonLexer() if python else TextLexer()
    listings = []
    for part in re.split(r"\n{2,}(?=[^\s)])", code.strip("\n")) if python else [code.strip("\n")]:
        body = pygments.highlight(part, lexer, LatexFormatter(nowrap=True)).rstrip("\n")
        option = "[samepage]" if body.count("\n") < TOGETHER else ""
        listings.append(f"\\begin{{Code}}{option}\n{body}\n\\end{{Code}}")
    return "\n".join(listings)


@functools.cache
def _glyphs() -> set[int]:
    """The characters of the text font."""
    found = subprocess.run(["kpsewhich", "texgyretermes-regular.otf"], capture_output=True, text=True).stdout.strip()
    return set(TTFont(Path(found)).getBestCmap()) if found else set(range(0x250))


def _shown(character: str) -> str | None:
    """LaTeX of a character that the text font lacks, None if it has it."""
    if character in SPACES:
        return SPACES[character]
    if character in "αβγδεζηθικλμνξπρστυφχψω":
        return rf"\texorpdfstring{{\ensuremath{{{character}}}}}{{{character}}}"  # as in formulas
    if ord(character) in _glyphs():
        return None
    plain = unicodedata.normalize("NFKC", character)
    if unicodedata.decomposition(character).startswith(("<super>", "<sub>")):
        where = "super" if "<super>" in unicodedata.decomposition(character) else "sub"
        return rf"\text{where}script{{{plain}}}"
    if character in "✓✗✔✘★":
        return rf"{{\fallbacksymbols {character}}}"
    if unicodedata.category(character) == "Sm" or 0x2100 <= ord(character) < 0x2C00:
        return rf"\texorpdfstring{{\ensuremath{{{character}}}}}{{{character}}}"
    return rf"{{\{'fallbackcjk' if ord(character) >= 0x2E80 else 'fallbackserif'} {character}}}"


def _pieces(text: str) -> list[dict]:
    """A word as pandoc's inlines, each rare character apart."""
    result: list[dict] = []
    for character in re.sub(r"^(\(?)-(?=\d)", "\\1−", text):  # a negative number's hyphen is a minus
        shown = _shown(character)
        if shown is not None:
            result.append(_raw(shown))
        elif result and result[-1]["t"] == "Str":
            result[-1]["c"] += character
        else:
            result.append({"t": "Str", "c": character})
    return result


def escape(text: object, rare: bool = True) -> str:
    """Plain text as LaTeX: specials escaped and, unless it is for PDF metadata, rare characters in other fonts."""
    clean = unicodedata.normalize("NFC", " ".join(str(text).split()))
    return "".join(
        SPECIAL.get(c) or (rare and ord(c) not in _glyphs() and _shown(c)) or c
        for c in clean
        if unicodedata.category(c) != "Cc"
    )


def number(value: float, digits: int = 6) -> str:
    """A number as LaTeX: 1.5, $-3$, $2\\cdot10^{-9}$."""
    mantissa, _, power = f"{value:.{digits}g}".partition("e")
    if not power:
        return f"${mantissa}$"
    return f"$10^{{{int(power)}}}$" if mantissa == "1" else rf"${mantissa}\cdot10^{{{int(power)}}}$"
