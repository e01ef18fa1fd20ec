"""Markdown as pandoc's syntax tree, and back: what LaTeX and HTML share."""

import functools
import json
import os
import subprocess

from errors import BuildError

# As Jupyter reads Markdown, plus the raw LaTeX equations that MathJax understands.
DIALECT = (
    "markdown+lists_without_preceding_blankline+autolink_bare_uris-blank_before_header-blank_before_blockquote"
    "-auto_identifiers-implicit_figures-fancy_lists-example_lists-citations-yaml_metadata_block-pandoc_title_block"
)
MARK = "%next-text-of-the-report"
PLACES = {"figure", "table", "section", "equation", "appendix"}


def read(texts: list[str]) -> dict[str, list]:
    """The blocks of each Markdown text."""
    texts = list(dict.fromkeys(texts))
    joined = "".join(f"{text}\n\n```{{=mark}}\n{MARK}\n```\n\n" for text in texts)
    blocks = json.loads(pandoc(joined, f"--from={DIALECT}", "--to=json", "--columns=9999"))["blocks"]
    parts: list[list] = [[]]
    for block in blocks:
        if block["t"] == "RawBlock" and block["c"] == ["mark", MARK]:
            parts.append([])
        else:
            parts[-1].append(block)
    if len(parts) != len(texts) + 1:
        raise BuildError("A Markdown cell leaves a code block, a comment or an HTML tag open, which swallows the next.")
    return dict(zip(texts, parts, strict=False))


def write(trees: dict[str, list], to: str, *options: str) -> dict[str, str]:
    """Each tree in pandoc's format `to`."""
    mark = {"t": "RawBlock", "c": [to, MARK]}
    document = {"pandoc-api-version": _version(), "meta": {}, "blocks": [b for t in trees.values() for b in [*t, mark]]}
    parts = pandoc(json.dumps(document), "--from=json", f"--to={to}", "--wrap=preserve", *options).split(MARK)
    return {text: part.strip() for text, part in zip(trees, parts, strict=False)}


@functools.cache
def _version() -> list[int]:
    return json.loads(pandoc("", "--to=json"))["pandoc-api-version"]


def pandoc(text: str, *options: str) -> str:
    settings = os.environ | {"LC_ALL": "C.UTF-8"}  # else pandoc takes no path beyond ASCII in the locale C
    done = subprocess.run(["pandoc", *options], input=text, capture_output=True, encoding="utf-8", env=settings)
    if done.returncode or "Could not convert" in done.stderr:
        raise BuildError(f"pandoc could not read the notebooks' Markdown: {done.stderr.strip()}")
    return done.stdout


def words(inlines: list) -> str:
    """The plain text of a link."""
    return "".join(
        " " if part["t"] in ("Space", "SoftBreak") else part["c"] if part["t"] == "Str" else words(part.get("c", []))
        for part in inlines
        if isinstance(part, dict)
    )


def is_place(node: object) -> bool:
    """Is it a link like [figure](#fig-x), which becomes "figure 3"?"""
    return isinstance(node, dict) and node["t"] == "Link" and words(node["c"][1]).lower() in PLACES


def drop_article(inlines: list) -> bool:
    """Before a reference, the last inline, its article goes: the figure 3 → figure 3. Was it "The"?"""
    if len(inlines) > 2 and inlines[-2]["t"] in ("Space", "SoftBreak") and inlines[-3].get("c") in ("The", "the"):
        capital = inlines[-3]["c"] == "The"
        del inlines[-3:-1]
        return capital
    return False
