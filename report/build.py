"""Make the report: run the notebooks, merge them, typeset the PDF and the HTML page (`make report`).

The exit status is 0 for a report, 3 for one in which a sentence or a check is not confirmed, which is written as a
draft beside the previous report, 1 if none could be made, and 130 after Ctrl-C.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import execute
import export
import facts
import filelock
import merge
import references
from errors import BuildError
from nbformat import NotebookNode

from helpers.files import write_atomically

HERE = Path(__file__).resolve().parent
RETRAINING = "retrain-since"  # a file in the build folder with the time at which an unfinished retraining began
DONE, FAILED, DRAFT, INTERRUPTED = 0, 1, 3, 130


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reduced", action="store_true", help="tiny parameters (report/reduced.toml) for a draft")
    parser.add_argument("--output", type=Path, default=HERE / "report.pdf", help="the PDF; the page is next to it")
    parser.add_argument("--page", action="store_true", help="write only the HTML page, which needs no LaTeX")
    parser.add_argument("--notebooks", type=Path, default=HERE.parent / "notebooks", help="folder of the notebooks")
    parser.add_argument("--build", type=Path, default=HERE / "build", help="folder of executed notebooks and LaTeX")
    parser.add_argument("--parameters", type=Path, help="TOML file with a table of parameters for each notebook")
    return parser.parse_args(words)


def build(options: argparse.Namespace) -> int:
    """Build everything and return the exit status; the previous PDF and page are kept until the new ones are complete.

    Raises BuildError if there can be no report.
    """
    export.check_tools(["pandoc"] if options.page else export.NEEDED)
    folder = options.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        notebooks = execute.find(options.notebooks.resolve())
        parameters = _parameters(options, notebooks)
        started, jobs = time.time(), execute.share_processors()
        anew = _choose_models(options.reduced, folder, started)
        execute.run_all(notebooks, folder, parameters, anew, jobs)
        executed = [folder / path.name for path in notebooks]
        run = facts.run_facts(started, jobs, execute.models_used(executed))
        whole = merge.merge(executed, facts.title_block(_extent(options)), run)
        made, warnings = _typeset(whole, folder, options.page)
        warnings += references.outdated(notebooks, whole)
        draft = bool(whole.metadata.report.unconfirmed) and not options.reduced
        targets = _put_in_place(made, options.output.resolve(), draft)
        (folder / RETRAINING).unlink(missing_ok=True)
        _say(whole.metadata.report, warnings, targets, draft)
    return DRAFT if draft else DONE


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """A context in which no other build uses this folder; BuildError if one does already."""
    lock = filelock.FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise BuildError(f"another build is at work in {folder}: wait for it to end.") from None
    try:
        yield
    finally:
        lock.release()


def _parameters(options: argparse.Namespace, notebooks: list[Path]) -> dict[str, dict]:
    """The parameters of each notebook, by its name without suffix; BuildError for those that make no sense."""
    chosen = options.parameters or (execute.REDUCED if options.reduced else None)
    parameters = execute.read_parameters(chosen) if chosen else {}
    names = [path.stem for path in notebooks]
    if options.parameters and (unknown := sorted(parameters.keys() - set(names))):
        raise BuildError(f"{chosen}: there is no notebook {unknown[0]!r}; the notebooks are {', '.join(names)}.")
    for path in notebooks:
        execute.check_parameters(path, parameters.get(path.stem, {}))
    return parameters


def _extent(options: argparse.Namespace) -> str:
    return ("reduced run" if options.reduced else facts.FULL) + " with own parameters" * bool(options.parameters)


def _choose_models(reduced: bool, folder: Path, started: float) -> bool:
    """Set in the environment which models are used and which retrained; whether all notebooks must run again.

    A retraining that was interrupted is continued. Raises BuildError for an unknown value of $RETRAIN.
    """
    retrain = os.environ.get("RETRAIN", "")
    if retrain not in ("", "0", "1", "all"):
        raise BuildError(f"RETRAIN={retrain} is unknown: 1 trains all models anew, all also the records.")
    if reduced:  # tiny models are kept apart from the stored ones
        os.environ["MODELS"] = os.environ.get("MODELS") or str(folder / "models")
    if retrain in ("", "0"):
        return os.environ.get("FORCE", "") not in ("", "0")
    note = folder / RETRAINING
    if not note.exists():
        note.write_text(f"{started}\n")
    os.environ["RETRAIN_SINCE"] = str(float(note.read_text()))
    return True


def _typeset(whole: NotebookNode, folder: Path, page_only: bool) -> tuple[list[Path], list[str]]:
    """Make the page and, unless `page_only`, the PDF in the build folder: these files, and what to warn of."""
    begin = time.monotonic()
    made, wide = [export.write_page(whole, folder)], []
    if not page_only:
        pdf, wide = export.make_pdf(export.write_latex(whole, folder))
        made.append(pdf)
    print(f"{'page and PDF':32} {time.monotonic() - begin:7.1f} s", flush=True)
    warnings = [f"a line too wide by {line}" for line in wide]
    answered = {answer["question"] for answer in whole.metadata.report.answers}
    if missing := sorted(set(merge.QUESTIONS) - answered):
        warnings.append(f"no answer to {', '.join(missing)}")
    return made, warnings


def _put_in_place(made: list[Path], output: Path, draft: bool) -> list[Path]:
    """Copy the files to where `output` says, those of a draft beside it; where they are."""
    if draft:
        output = output.with_stem(f"{output.stem}-draft")
    targets = [output.with_suffix(file.suffix) for file in made]
    for file, target in zip(made, targets, strict=True):
        write_atomically(target, file.read_bytes())
    return targets


def _say(report: dict, warnings: list[str], targets: list[Path], draft: bool) -> None:
    """Print what the user should know; the last line names the files."""
    for warning in warnings:
        print(f"warning: {warning}")
    if missing := report["title"]["missing"]:
        entries = f"`make report {'=… '.join(missing)}=…`"
        print(f"warning: the title block has blanks for {', '.join(missing)}; {entries} fills them in.")
    files, doubts = ", ".join(map(str, targets)), report["unconfirmed"]
    if draft:
        for doubt in doubts:
            print(f"not confirmed in this run: {doubt}")
        print(f"The previous report was left as it was. Draft, with marks where it is not confirmed: {files}.")
        return
    if doubts:
        print(f"{len(doubts)} sentences or checks are not confirmed by tiny models; they are marked.")
    print(f"Ready: {files}.")


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.page:
        options.output = options.output.with_suffix(".html")
    try:
        return build(options)
    except BuildError as error:
        said, status = str(error), FAILED
    except KeyboardInterrupt:
        said, status = "stopped by Ctrl-C: the same command goes on with what was finished.", INTERRUPTED
    except OSError as error:  # a full disk, a folder that may not be written
        place = error.filename or options.build
        said, status = f"{place}: {error.strerror or error}: make room or allow writing.", FAILED
    kept = f" {options.output} was left as it was." if options.output.exists() else ""
    print(f"The report was not built: {said}{kept}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
