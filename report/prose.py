"""Convert Markdown to LaTeX or HTML in one run of pandoc; prose.lua resolves labels, references and citations."""

import os
import re
import subprocess
from pathlib import Path

import formulas
from errors import BuildError

HERE = Path(__file__).resolve().parent
# Markdown as Jupyter reads it, plus the raw LaTeX equations that its MathJax understands.
DIALECT = (
    "markdown+lists_without_preceding_blankline+autolink_bare_uris-blank_before_header-blank_before_blockquote"
    "-auto_identifiers-implicit_figures-fancy_lists-example_lists-citations-yaml_metadata_block-pandoc_title_block"
)
MARK = "%next-text-of-the-report"
DISPLAY = r"\\\[|\\begin\{(?:equation|align|gather|multline)\*?\}"
DISPLAY_END = r"\\\]|\\end\{(?:equation|align|gather|multline)\*?\}"


def convert(texts: list[str], to: str, numbers: dict[str, str]) -> dict[str, str]:
    """The LaTeX or HTML (`to`) of each Markdown text; numbers: the number of each label."""
    texts = list(dict.fromkeys(texts))
    joined = "".join(f"{text}\n\n```{{={to}}}\n{MARK}\n```\n\n" for text in texts)
    written = _pandoc(joined, to, numbers, f"--from={DIALECT}", "--columns=9999")
    parts = written.split(MARK)
    if len(parts) != len(texts) + 1 or f"```{{={to}}}" in written:
        raise BuildError("A Markdown cell leaves a code block, a comment or an HTML tag open, which swallows the next.")
    if to == "latex":  # a formula, and the text that follows it, belong to one sentence
        parts = [re.sub(rf"\n{{2,}}(?={DISPLAY})", "\n", part) for part in parts]
        parts = [re.sub(rf"({DISPLAY_END})\n{{2,}}(?=[a-z])", r"\1\n", part) for part in parts]
    else:
        parts = [_page(part) for part in parts]
    return {text: part.strip() for text, part in zip(texts, parts, strict=False)}


def _page(part: str) -> str:
    """HTML with its formulas mended, and with heads of tables that say what they are the heads of."""
    part = re.sub(r"<th\b([^>]*)></th>", r"<td\1></td>", part)
    for place, scope in (("thead", "col"), ("tbody", "row")):
        heads = re.compile(rf"(?s)<{place}>.*?</{place}>")
        part = heads.sub(lambda rows, scope=scope: re.sub(r"<th\b", f'<th scope="{scope}"', rows[0]), part)
    return formulas.mended(part)


def sources(texts: list[str], to: str) -> str:
    """The entries of references.bib that the texts cite by links like [Kingma & Welling 2014](#cite-kingma2014)."""
    listed = _listed(sorted({key for text in texts for key in re.findall(r"\(#(cite-[^)]+)\)", text)}), to)
    return re.sub(r' role="[^"]*"', "", listed) if to == "html" else listed  # pandoc's roles are out of date


def entries(labels: list[str]) -> dict[str, str]:
    """The entries with the labels cite-…, each as one paragraph of Markdown, in the order of the list of references."""
    listed = _listed(labels, "commonmark") if labels else ""
    found = re.findall(r'<div id="(cite-[^"]+)"[^>]*>\s*(.*?)\s*</div>', listed, re.DOTALL)
    return {label: " ".join(text.split()) for label, text in found}


def _listed(labels: list[str], to: str) -> str:
    """The list of references, of the entries with these labels."""
    cited = " ".join(label.replace("cite-", "@", 1) for label in labels)
    options = ("--from=markdown-smart", "--citeproc", f"--bibliography={HERE / 'references.bib'}")
    listed = _pandoc(f"---\nnocite: '{cited}'\n---\n", to, {}, *options).strip()
    if unknown := [label.removeprefix("cite-") for label in labels if label not in listed]:
        raise BuildError(f"report/references.bib has no entry {', '.join(unknown)}, which a notebook cites.")
    return listed


def plain(text: object) -> str:
    """Markdown that prints a plain text unchanged."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~^$@&\":=])", r"\\\1", " ".join(str(text).split()))


def number(value: float | list[float], digits: int = 6) -> str:
    """A number as Markdown: 1.5, −3, $2\\cdot10^{-9}$; two numbers give an interval."""
    if isinstance(value, list):
        return rf"\[{', '.join(number(end, 4) for end in value)}\]"
    mantissa, _, power = f"{value:.{digits}g}".partition("e")
    if not power:
        return mantissa.replace("-", "−")
    return f"$10^{{{int(power)}}}$" if mantissa == "1" else rf"${mantissa}\cdot10^{{{int(power)}}}$"


def _pandoc(text: str, to: str, numbers: dict[str, str], *options: str) -> str:
    """pandoc's output; LC_ALL is set because in the locale C it accepts only ASCII paths."""
    listed = " ".join(f"{label}={number}" for label, number in numbers.items())
    command = ["pandoc", *options, f"--to={'latex-smart' if to == 'latex' else to}", "--wrap=preserve", "--mathml"]
    command += [f"--lua-filter={HERE / 'prose.lua'}", "--no-highlight"]
    settings = os.environ | {"LC_ALL": "C.UTF-8", "REPORT_NUMBERS": listed}
    done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", env=settings)
    if done.returncode:
        raise BuildError(f"pandoc could not read the notebooks' Markdown: {done.stderr.strip()}")
    return done.stdout
