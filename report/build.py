"""Make the report: run the notebooks, merge them, typeset the PDF and the HTML page (`make report`)."""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

import execute
import export
import facts
import filelock
import merge
from errors import BuildError

from helpers.files import write_atomically

HERE = Path(__file__).resolve().parent


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reduced", action="store_true", help="tiny parameters (report/reduced.toml) for a draft")
    parser.add_argument("--output", type=Path, default=HERE / "report.pdf", help="the PDF; the page is next to it")
    parser.add_argument("--page", action="store_true", help="write only the HTML page, which needs no LaTeX")
    parser.add_argument("--notebooks", type=Path, default=HERE.parent / "notebooks", help="folder of the notebooks")
    parser.add_argument("--build", type=Path, default=HERE / "build", help="folder of executed notebooks and LaTeX")
    parser.add_argument("--parameters", type=Path, default=execute.REDUCED, help="TOML file of the reduced parameters")
    return parser.parse_args(words)


def build(options: argparse.Namespace) -> None:
    """Build everything, or raise BuildError; the previous PDF and page are kept until the new ones are complete."""
    export.check_tools(["pandoc"] if options.page else export.NEEDED)
    if os.environ.get("RETRAIN", "") not in ("", "0", "1", "all"):
        raise BuildError(f"RETRAIN={os.environ['RETRAIN']} is unknown: 1 trains all models anew, all also the records.")
    folder = options.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as alone:
        try:
            alone.enter_context(filelock.FileLock(folder / ".lock", timeout=0))
        except filelock.Timeout:
            raise BuildError(f"another build is at work in {folder}: wait for it to end.") from None
        notebooks = execute.find(options.notebooks.resolve())
        tiny = execute.reduced_parameters(options.parameters) if options.reduced else {}
        for path in notebooks:
            execute.check_parameters(path, tiny.get(path.stem, {}))
        started, jobs = time.time(), execute.share_processors()
        if options.reduced:  # tiny models are kept apart from the stored ones
            os.environ["MODELS"] = os.environ.get("MODELS") or str(folder / "models")
        note = folder / "retrain-since"
        if retrain := os.environ.get("RETRAIN") not in (None, "", "0"):  # an interrupted retraining is continued
            if not note.exists():
                note.write_text(f"{started}\n")
            os.environ["RETRAIN_SINCE"] = str(float(note.read_text()))
        anew = retrain or os.environ.get("FORCE") not in (None, "", "0")
        execute.run_all(notebooks, folder, tiny, anew, jobs)
        executed = [folder / path.name for path in notebooks]
        whole = merge.merge(executed, facts.title_block(options.reduced), facts.run_facts(started, jobs))
        begin = time.monotonic()
        made, wide = [export.write_page(whole, folder)], []
        if not options.page:
            pdf, wide = export.make_pdf(export.write_latex(whole, folder))
            made.append(pdf)
        print(f"{'page and PDF':32} {time.monotonic() - begin:7.1f} s", flush=True)
        targets = [options.output.resolve().with_suffix(file.suffix) for file in made]
        for file, target in zip(made, targets, strict=True):
            write_atomically(target, file.read_bytes())
        note.unlink(missing_ok=True)
        for line in wide:
            print(f"warning: a line too wide by {line}")
        missing = set(merge.QUESTIONS) - {answer["question"] for answer in whole.metadata.report.answers}
        if missing:
            print(f"warning: no answer to {', '.join(sorted(missing))}")
        print(f"Ready: {', '.join(map(str, targets))}.")
        if missing := whole.metadata.report.title["missing"]:
            print(f"The title block lacks {', '.join(missing)}: `make report {'=… '.join(missing)}=…` sets them.")


def main(words: list[str] | None = None) -> int:
    options = arguments(words)
    if options.page:
        options.output = options.output.with_suffix(".html")
    try:
        build(options)
        return 0
    except BuildError as error:
        said, status = str(error), 1
    except KeyboardInterrupt:
        said, status = "stopped by Ctrl-C: the same command goes on with what was finished.", 130
    except OSError as error:  # a full disk, a folder that may not be written
        said, status = f"{error.filename or options.build}: {error.strerror or error}: make room or allow writing.", 1
    kept = f" {options.output} was left as it was." if options.output.exists() else ""
    print(f"The report was not built: {said}{kept}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
