"""Where a model comes from: hashes of its tensors, of the code and of the data that determine it, and the commit."""

import ast
import contextlib
import hashlib
import inspect
import json
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from helpers.files import ROOT


def sha256(*modules: nn.Module) -> str:
    """The SHA-256 of the tensors of modules, whatever file they came from."""
    return sha256_of_tensors(nn.ModuleList(modules).state_dict())


def sha256_of_tensors(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def commit() -> str:
    """The commit of the project, "-dirty" if files differ from it, or "unknown"."""
    git = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"]
    with contextlib.suppress(OSError):  # git may be missing
        return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"
    return "unknown"


def origin(model: Any) -> dict[str, str]:
    """For the record of a model: hashes of the code and of the data that determine it, where it names them."""
    found = {}
    if parts := getattr(model, "code", ()):
        found["code"] = code_hash(parts)
    if data := getattr(model, "data", ""):
        found["data"] = data
    return found


def code_hash(parts: Sequence[Callable | type]) -> str:
    """Twelve digits that change when the syntax of a function or class changes, not with comments or its docstring.

    Of a class its base classes count, too, but not those of torch.
    """
    whole = []
    for part in parts:
        classes = part.__mro__ if isinstance(part, type) else [part]
        whole += [one for one in classes if str(one.__module__).split(".")[0] not in ("torch", "builtins")]
    return hashlib.sha256(json.dumps([_syntax_of(part) for part in whole]).encode()).hexdigest()[:12]


def _syntax_of(part: Callable | type) -> list:
    try:
        return _syntax(ast.parse(textwrap.dedent(inspect.getsource(part))))
    except (OSError, TypeError, SyntaxError):  # it was not defined in a file or in a cell
        if isinstance(part, type):
            return [_syntax_of(value) for value in vars(part).values() if inspect.isfunction(value)]
        compiled = getattr(part, "__code__", None)
        return [compiled.co_code.hex(), repr(compiled.co_consts)] if compiled else [repr(part)]


def _syntax(node: Any) -> Any:
    """A syntax tree as nested lists, without docstrings and without what differs between versions of Python."""
    if isinstance(node, list):
        return [_syntax(entry) for entry in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = [type(node).__name__]
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            value = value[1:]
        if value not in (None, []):
            parts.append([name, _syntax(value)])
    return parts
