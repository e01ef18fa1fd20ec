"""Whether executed notebooks say the same again.

`python tests/tools/compare_runs.py FOLDER OTHER` compares the executed notebooks of two builds: figures, tables, checks
and answers by name, prose by order. With one folder, a reduced one, it runs each of its notebooks once more, the last
first, each alone with an empty store, and compares with that: nothing may depend on order or leftovers.
"""

import argparse
import difflib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import papermill

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def content(executed: Path) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """What a notebook says: text and drawing of each named output, and the paragraphs of all prose in their order."""
    named, prose = {}, []
    for cell in nbformat.read(executed, as_version=4).cells:
        said = [cell.source] if cell.cell_type == "markdown" else []
        for output in cell.get("outputs", []):
            facts = output.get("metadata", {}).get("report", {"kind": "source"})
            text, drawing = (output.get("data", {}).get(kind, "") for kind in ("text/plain", "application/pdf"))
            if name := facts.get("label") or facts.get("name") or facts.get("question"):
                named[f"{facts['kind']} {name}"] = text, drawing
            elif facts["kind"] != "source":  # what code is printed says nothing about numbers
                said.append(text)
        prose += [" ".join(paragraph.split()) for text in said for paragraph in text.split("\n\n")]
    return named, prose


def numbers(old: str, new: str) -> str:
    """The numbers in which two texts differ, "" if none."""
    found = changes(NUMBER.findall(old), NUMBER.findall(new))
    return ", ".join(f"{' '.join(was) or 'none'} → {' '.join(now) or 'none'}" for was, now in found)


def changes(old: list[str], new: list[str]) -> list[tuple[list[str], list[str]]]:
    """The stretches in which two lists differ."""
    steps = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return [(old[a:b], new[c:d]) for kind, a, b, c, d in steps if kind != "equal"]


def differences(one: Path, other: Path) -> Iterator[tuple[str, bool]]:
    """Sentences on what two executed copies of a notebook say differently, each with whether numbers or drawings do."""
    (old, old_prose), (new, new_prose) = content(one), content(other)
    yield from ((f"{'gone' if name in old else 'new'}: {name}", True) for name in sorted(old.keys() ^ new.keys()))
    pairs = [(name, *old[name], *new[name]) for name in old if name in new]
    for was, now in changes(old_prose, new_prose):
        pairs.append((f"prose “{' '.join(was or now)[:60]}…”", " ".join(was), "", " ".join(now), ""))
    for name, text, drawing, new_text, new_drawing in pairs:
        if drawing != new_drawing:
            yield f"{name}: another drawing", True
        if text != new_text:
            found = numbers(text, new_text)
            yield f"{name}: {found or 'other words, the same numbers'}", bool(found)


def run_alone(executed: Path, target: Path) -> None:
    """Run a notebook again with the parameters of its executed copy and a store of its own."""
    os.environ["MODELS"] = str(target.with_suffix(".models"))
    values = nbformat.read(executed, as_version=4).metadata.papermill["parameters"]
    papermill.execute_notebook(NOTEBOOKS / executed.name, target, values, cwd=NOTEBOOKS, progress_bar=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    options, same = parser.parse_args(), True
    with tempfile.TemporaryDirectory() as new:
        for path in sorted(options.folder.glob("[0-9]*.ipynb"), reverse=True):
            other = (options.other or Path(new)) / path.name
            if not options.other:
                run_alone(path, other)
            found = list(differences(path, other))
            same = same and not any(counts for _, counts in found)
            print(f"{path.name}: {len(found)} differences", *(text for text, _ in found), sep="\n    ", flush=True)
    print("No number differs." if same else "See above for the numbers that differ, times among them.")


if __name__ == "__main__":
    main()
