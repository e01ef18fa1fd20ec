"""What a stranger could try: the notebooks' server, files that carry code, names that carry commands."""

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, wait_for

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}  # what they read may run as code
CALLS = {"torch.load", "torch.save", "os.system", "os.popen", "joblib.load", "pd.read_pickle", "numpy.load", "np.load"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """`make notebooks` as it stands, with a browser that does nothing: its port and the token in its address."""
    log = tmp_path_factory.mktemp("server") / "log"
    settings = os.environ | {"BROWSER": "true", "JUPYTER_RUNTIME_DIR": str(log.parent)}
    command = ["make", "--no-print-directory", "notebooks", f"PYTHON={sys.executable}"]
    address = re.compile(r"http://127\.0\.0\.1:(\d+)/lab\?token=([0-9a-f]{40,})")

    def listens() -> bool:  # some versions name the address before they listen
        assert process.poll() is None, log.read_text()
        found = address.search(log.read_text())
        with socket.socket() as probe:
            return bool(found) and probe.connect_ex(("127.0.0.1", int(found[1]))) == 0

    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_for(listens, "JupyterLab's address")
        port, token = address.search(log.read_text()).groups()
        yield int(port), token
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_notebooks_server_asks_for_its_token(server: tuple[int, str]) -> None:
    port, token = server
    for place in ("contents", "kernels", "terminals"):
        address = f"http://127.0.0.1:{port}/api/{place}"
        assert status(address) == status(f"{address}?token={'0' * len(token)}") == 403
        assert status(f"{address}?token={token}") == 200


def test_the_notebooks_server_listens_on_this_machine_alone(server: tuple[int, str]) -> None:
    wanted, listening = f"{server[0]:04X}", "0A"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    hosts = {row[1].split(":")[0] for row in rows if row[3] == listening and row[1].split(":")[1] == wanted}
    assert hosts == {"0100007F"}, "127.0.0.1, in the kernel's byte order"


def code() -> dict[str, str]:
    """Names and texts of everything that runs when the report is made."""
    paths = [path for folder in ("helpers", "report") for path in (ROOT / folder).glob("*.py")]
    found = {f"{path.parent.name}/{path.name}": path.read_text(encoding="utf-8") for path in paths}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        found[path.name] = "\n".join(cells)
    return found


@pytest.mark.parametrize(("name", "text"), code().items(), ids=code())
def test_no_pickle_and_no_shell(name: str, text: str) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            assert not {name.split(".")[0] for name in names} & MODULES, name
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in CALLS, f"{name}:{node.lineno}"
            shell = [key for key in node.keywords if key.arg in ("shell", "allow_pickle")]
            assert not any(ast.unparse(key.value) != "False" for key in shell), f"{name}:{node.lineno}"


@pytest.mark.parametrize("author", ["$(touch broken)", "`touch broken`", "'; touch broken; '", '"; touch broken; "'])
def test_a_name_is_no_command_of_the_shell(author: str, tmp_path: Path) -> None:
    """make's own variable, as a user would type it; the build ends early, for there are no notebooks."""
    command = ["make", "-f", ROOT / "Makefile", "-C", tmp_path, "report"]
    command += [f"PYTHON={tmp_path}/python", f"AUTHOR={author}"]
    (tmp_path / "python").write_text('#!/bin/sh\nprintf %s "$AUTHOR" > "$(dirname "$0")/author"\n')
    (tmp_path / "python").chmod(0o755)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "author").read_text() == author and not list(tmp_path.rglob("broken"))
