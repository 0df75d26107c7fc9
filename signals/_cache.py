"""Where compiled kernels lie: a folder of its own for each state of the code they were compiled from.

numba compiles a kernel anew when its own file has changed, not when a kernel or a constant of another file has that
went into it. After an update an old one would go on computing with what it was compiled with.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent
_SOURCES = (_PACKAGE, _PACKAGE.parent / "schemas")
_NAME = "kernels-"


def folder() -> Path:
    """Beside the code, under ``NUMBA_CACHE_DIR`` where set, or in the user's cache where neither may be written."""
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or _PACKAGE / "__pycache__")
    if base.name.startswith(_NAME):  # chosen by the process that started this one
        base = base.parent
    base = base if _writable(base) else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "flowtape"
    mark = hashlib.sha256()
    for file in sorted(file for source in _SOURCES for file in source.glob("*.py")):
        mark.update(b"%b\0%b\0" % (file.name.encode(), file.read_bytes()))
    return base / (_NAME + mark.hexdigest()[:16])


def choose() -> None:
    """Tell numba; before the first kernel is defined."""
    os.environ["NUMBA_CACHE_DIR"] = chosen = str(folder())
    if "numba" in sys.modules:  # it reads the environment when it is imported
        sys.modules["numba"].config.CACHE_DIR = chosen


def sweep() -> None:
    """Remove what was compiled from other states of the code."""
    current = folder()
    for old in current.parent.glob(_NAME + "*"):
        if old != current:
            shutil.rmtree(old, ignore_errors=True)


def _writable(base: Path) -> bool:
    while not base.exists():
        base = base.parent
    return os.access(base, os.W_OK)
