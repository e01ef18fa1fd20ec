"""Notebooks run: which of them again, with what parameters, two at once, on other systems."""

import math
import os
import shutil
from pathlib import Path

import execute
import facts
import nbformat
import pytest
from conftest import ROOT, TRAINING, Workshop
from errors import BuildError

pytestmark = pytest.mark.usefixtures("tex")


def test_cells_parameters_helpers_and_models_decide_what_runs_again(workshop: Workshop, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MODELS", str(workshop.folder / "models"))
    source, target = workshop.write("01_model", TRAINING), workshop.folder / "01_model.ipynb"
    mark = execute.fingerprint(source, {})
    assert execute.recall(target, mark) is None
    for anew, reused in ((False, False), (False, True), (True, False)):
        execute.run_all([source], workshop.folder, {}, anew, jobs=1)
        assert ("reused" in capsys.readouterr().out) == reused
    assert execute.recall(target, mark) > 0 and execute.fingerprint(source, {"seed": 1}) != mark
    workshop.write("01_model", TRAINING + "\n# changed")
    assert execute.fingerprint(source, {}) != mark
    (weights,) = (workshop.folder / "models").glob("tiny-*.safetensors")
    weights.write_bytes(weights.read_bytes() + b"x")
    assert execute.recall(target, mark) is None


def test_a_notebook_depends_on_the_helpers_it_imports_and_the_scripts_beside_them(workshop, monkeypatch) -> None:
    found = {path.stem for path in execute._imported("from helpers import gan", set())}
    assert {"gan", "store", "compute", "networks", "__init__"} <= found and "echo" not in found
    for form in ("import helpers.gan as gan", "import helpers.gan", "from helpers.gan import train"):
        assert {path.stem for path in execute._imported(form, set())} == found
    shown = {path.relative_to(execute.HELPERS).as_posix() for path in execute._imported("import helpers.show", set())}
    assert shown == {"__init__.py", "show/__init__.py"}
    monkeypatch.setattr(execute, "HELPERS", shutil.copytree(execute.HELPERS, workshop.folder / "helpers"))
    source = workshop.write("01_film", "from helpers.show import strips")
    before = execute.fingerprint(source, {})
    with open(execute.HELPERS / "show" / "strips.js", "a") as script:
        script.write("// changed")
    assert execute.fingerprint(source, {}) != before


@pytest.mark.parametrize(
    ("default", "good", "bad"),
    [("2**3", [4], [-1, 0, 2.5, True, "many", [3]]), ("0.5", [2], [-1]), ("[1]", [[7]], [[]]), ("[0.5]", [[1]], ["a"])],
)  # fmt: skip
def test_a_parameter_is_of_its_default_s_kind(workshop: Workshop, default: str, good: list, bad: list) -> None:
    path = workshop.write("01_good", parameters=f"wish = {default}")
    for value in good:
        execute.check_parameters(path, {"wish": value})
    for value in bad:
        with pytest.raises(BuildError, match="01_good.ipynb: wish = .* of its default"):
            execute.check_parameters(path, {"wish": value})


def test_parameters_may_have_types_and_be_computed_from_others(workshop: Workshop) -> None:
    path = workshop.write("01_good", parameters="seed: int = 0\na = b = 2\nc = 2 * a\nd = helpers.x\ne: str")
    known = execute.parameters_of(nbformat.read(path, as_version=4))
    assert known == {"seed": "0", "a": "2", "b": "2", "c": "2 * a", "d": "helpers.x"}
    for good in ({"seed": 3}, {"c": 6}, {"a": 3, "c": 6}, {"d": "anything"}):
        execute.check_parameters(path, good)
    for bad, complaint in (({"c": "six"}, "c = 'six' is not of the kind"), ({"a": 3}, "c is computed from a before")):
        with pytest.raises(BuildError, match=complaint):
            execute.check_parameters(path, bad)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read"), ("seed = ", "is not a TOML file"), ("seed = 1", "outside the table of a notebook")],
)
def test_a_file_of_parameters_without_sense_is_refused(tmp_path: Path, content: str | None, complaint: str) -> None:
    if content is not None:
        (tmp_path / "own.toml").write_text(content)
    with pytest.raises(BuildError, match=complaint):
        execute.read_parameters(tmp_path / "own.toml")


def test_magic_commands_are_read_as_code(workshop: Workshop) -> None:
    plain = workshop.write("01_magic", "from helpers import gan")
    assert "gan" in {path.stem for path in execute._imported("%%time\nfrom helpers import gan\n%timeit 1 + 1", set())}
    assert execute._imported("%%bash\nls -l | head", set()) == execute._imported("x = = 1", set()) == set()
    before = execute.fingerprint(plain, {})
    workshop.write("01_magic", "%timeit 1 + 1\nfiles = !ls\nfrom helpers import gan", parameters="%%time\nseed = 0")
    assert execute.fingerprint(plain, {}) != before
    assert execute.parameters_of(nbformat.read(plain, as_version=4)) == {"seed": "0"}


def test_a_run_names_the_models_it_used_and_no_other_file_beside_them(workshop: Workshop, monkeypatch) -> None:
    models = workshop.folder / "models"
    monkeypatch.setenv("MODELS", str(models))
    source, target = workshop.write("01_model", TRAINING), workshop.folder / "01_model.ipynb"
    execute.run_all([source], workshop.folder, {}, False, jobs=1)
    for name, content in (("foreign.json", "[1]"), ("foreign.safetensors", "[1]"), ("empty.safetensors", "")):
        (models / name).write_text(content)
    (used,) = execute.models_used([target])
    assert used.startswith("tiny-") and facts.stored() == [used]
    (model,) = facts.run_facts(0, 1, [used])["models"]
    assert model["name"] == "tiny" and model["origin"] == "this run" and model["epochs"] == 4
    (models / f"{used}.safetensors").write_text("")
    assert execute.recall(target, execute.fingerprint(source, {})) is None


@pytest.mark.parametrize(
    ("files", "groups", "expected"),
    [
        ({}, ["0::/"], math.inf),
        ({"cpu.max": "max 100000"}, ["0::/"], math.inf),
        ({"cpu.max": "150000 100000"}, ["0::/"], 1.5),
        ({"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, ["0::/a/b"], 2),
        ({"cpu.max": "300000 100000"}, ["0::/path/on/the/host"], 3),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, ["4:cpu,cpuacct:/docker/1"], 0.5),
        ({"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, ["2:cpuset:/y", "4:cpu:/x"], math.inf),
    ],
)
def test_a_container_s_limit_is_respected(tmp_path: Path, monkeypatch, files, groups, expected: float) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert execute.quota(groups, tmp_path) == expected
    monkeypatch.setattr(execute, "quota", lambda groups: expected)
    allowed = len(os.sched_getaffinity(0))
    assert execute.processors() == min(allowed, max(1, math.ceil(min(expected, allowed))))


def test_two_notebooks_run_at_once_and_the_first_failure_ends_the_other(workshop: Workshop) -> None:
    wait = "import pathlib, time\npathlib.Path({!r}).touch()\n"
    wait += "for _ in range(1200):\n    if pathlib.Path({!r}).exists():\n        break\n    time.sleep(0.05)\n"
    wait += "else:\n    1 / 0"
    names = [str(workshop.folder / name) for name in ("first", "second", "never")]
    workshop.write("01_one", wait.format(names[0], names[1]))
    workshop.write("02_two", wait.format(names[1], names[0]))
    workshop.build("--page", JOBS="2", OMP_NUM_THREADS="1")
    workshop.write("01_one", wait.format(names[0], names[2]))
    workshop.write("02_two", "raise ValueError('it is broken')")
    *_, said = workshop.refused("--page", JOBS="2", OMP_NUM_THREADS="1")
    assert "02_two.ipynb" in said and "it is broken" in said


WINDOWS = """import sys, zmq
sys.modules["fcntl"] = None
bind = zmq.Socket.bind
def refuse(self, address):
    if address.startswith("ipc"):
        raise zmq.ZMQError(msg="Protocol not supported")
    return bind(self, address)
zmq.Socket.bind = refuse
"""


@pytest.mark.parametrize("system", ["long temporary folder", "no fcntl and no ipc"])
def test_kernels_answer_on_other_systems(workshop: Workshop, tmp_path: Path, system: str) -> None:
    workshop.write("01_good", "publish.say('fine')")
    folder = tmp_path / ("x" * 110)
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(WINDOWS)
    odd = {"TMPDIR": str(folder)} if system.startswith("long") else {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    workshop.build("--page", **odd)
