"""The project's root folder, and writing a file so that no reader ever sees half of it."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file, then rename it to `path`: others read the old content or the new, never a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
