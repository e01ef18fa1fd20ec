"""Markdown to HTML: formulas as MathML, which needs no script, references and citations as links."""

import html
import re

import decimals
import numbering
import pygments
import tree
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer, TextLexer


def convert(trees: dict[str, list], numbers: dict[str, str]) -> dict[str, str]:
    """HTML of each text, from its tree (see `tree.read`). numbers: of all labels."""
    resolved = {text: _resolve(blocks, numbers) for text, blocks in trees.items()}
    written = tree.write(resolved, "html", "--mathml", "--no-highlight")
    for wrong, right in MENDED.items():
        written = {text: re.sub(wrong, right, page) for text, page in written.items()}
    return written


def _upright(formula: str) -> str:
    """Variables as letters of one word, KL: browsers no longer know the element that says so."""
    return re.sub("<mi>", '<mi mathvariant="normal">', formula).replace('</mi><mi mathvariant="normal">', "")


MENDED = {  # pandoc's MathML, set as TeX would
    r"(?s)<annotation .*?</annotation>": "",  # the TeX of a formula, which no reader sees
    r"<mi>(?=[Α-Ω]</mi>)": '<mi mathvariant="normal">',
    r'<mstyle mathvariant="normal">(.*?)</mstyle>': lambda found: "<mrow>" + _upright(found[1]) + "</mrow>",
    r'stretchy="true"( form="\w+">\|</mo>)': r'stretchy="false"\1',
    r"<mo>(?=[a-z]{2,}</mo>)": '<mo lspace="0.17em" rspace="0.17em">',  # log and its like
    r'(<mrow>|(?:form="prefix"|<mo)>[^<]*</mo>)<mo>−</mo>': r'\1<mo form="prefix">−</mo>',  # a sign, no difference
}


def _raw(text: str) -> dict:
    return {"t": "RawInline", "c": ["html", text]}


def _resolve(node, numbers: dict[str, str]):
    """The tree with links, headings, formulas and code as the page has them."""
    if isinstance(node, list):
        result = []
        for child in node:
            result.append(_resolve(child, numbers))
            if tree.is_place(child) and tree.drop_article(result):
                result[-1]["c"][1] = re.sub(r">(\w)", lambda m: ">" + m[1].upper(), result[-1]["c"][1], count=1)
        return result
    if not isinstance(node, dict) or "c" not in node:
        return node
    kind, content = node["t"], node["c"]
    if kind == "Str":  # a negative number's hyphen is a minus, and variables are as in formulas
        text = re.sub(r"^(\(?)-(?=\d)", "\\1−", content)
        greek = re.sub("([α-ω])", r"<i>\1</i>", html.escape(text, quote=False))
        return _raw(greek) if "<i>" in greek else {"t": kind, "c": text}
    if kind == "Link":
        return _link(content, numbers) or {"t": kind, "c": [content[0], _resolve(content[1], numbers), content[2]]}
    if kind == "Header":
        level, (label, classes, pairs), inlines = content
        mark = [_raw(f'<span class="number">{dict(pairs)["number"]}</span> ')] if pairs else []
        return {"t": kind, "c": [level + 1, [label, classes, []], mark + _resolve(inlines, numbers)]}
    if kind == "Table":
        decimals.align_table(content)
    if kind == "CodeBlock":
        return {"t": "RawBlock", "c": ["html", highlight(content[1], "python" in content[0][1])]}
    if kind == "Math" or (kind == "RawInline" and content[0] == "tex"):
        return _formula(node, numbers)
    return {"t": kind, "c": content if kind in ("Code", "RawInline", "RawBlock") else _resolve(content, numbers)}


def _link(content: list, numbers: dict[str, str]) -> dict | None:
    """A link inside the report: [figure](#fig-x), [there](04_gan.ipynb); citations keep their words."""
    target, words = content[2][0], tree.words(content[1])
    notebook = re.fullmatch(r"(?:\./)?\d\d_(\w+)\.ipynb", target)
    label = f"sec-{notebook[1]}" if notebook else target.removeprefix("#") if target.startswith("#") else None
    if label is None:
        return None
    if words.lower() in tree.PLACES:
        words += f"\u00a0{numbers.get(label, '')}"
    return _raw(f'<a href="#{html.escape(label)}">{html.escape(words)}</a>')


def _formula(node: dict, numbers: dict[str, str]) -> dict:
    """A formula; with its number if it has a label, or the link that \\eqref asks for."""
    formula = node["c"][1]
    if asked := re.fullmatch(r"\\eqref\{([^}]+)\}", formula.strip()):
        return _raw(f'<a href="#{html.escape(asked[1])}">{numbers.get(asked[1], "")}</a>')
    plain = re.sub(r"\\label\{[^}]+\}|\\(?:begin|end)\{equation\*?\}", "", formula).strip()
    plain = re.sub(r"\\(begin|end)\{(align|gather)\*?\}", r"\\\1{\2ed}", plain)
    plain = plain.replace(r"\Bigl", r"\left").replace(r"\Bigr", r"\right")  # which pandoc 2 does not know
    label = numbering.label_of(formula)
    if node["t"] == "Math" and label is None:
        return {"t": "Math", "c": [node["c"][0], plain]}
    mark = [_raw(f'<span class="mark">{numbers[label]}</span>')] if label else []
    display = {"t": "Math", "c": [{"t": "DisplayMath"}, plain]}
    return {"t": "Span", "c": [[label or "", ["equation"], []], [display, *mark]]}


def highlight(code: str, python: bool = True) -> str:
    """A listing."""
    lexer = PythonLexer() if python else TextLexer()
    return pygments.highlight(re.sub(r"\n{3,}", "\n\n", code.strip("\n")), lexer, HtmlFormatter(cssclass="code"))


def number(value: float, digits: int = 6) -> str:
    """A number: 1.5, −3, 2·10⁻⁹."""
    mantissa, _, power = f"{value:.{digits}g}".replace("-", "−").partition("e")
    if not power:
        return mantissa
    power = f"10<sup>{power[0].strip('+')}{power[1:].lstrip('0')}</sup>"
    return power if mantissa == "1" else f"{mantissa}·{power}"
