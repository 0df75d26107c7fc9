"""Which signals of the user's there are. Imports nothing heavy: ``flowtape up`` asks only this."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

from schemas.settings import Settings

GROUP = "flowtape.signals"
"""Entry points of installed packages that hold signals: name → module or class."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def names(settings: Settings) -> dict[str, Path | str]:
    """Signals there are, without loading them: name → file, or the entry point's value."""
    found: dict[str, Path | str] = {one.name: one.value for one in entry_points(group=GROUP)}
    if settings.signals.folder:
        for file in sorted(Path(settings.signals.folder).glob("*.py")):
            if not file.stem.startswith(("_", "test_")):
                found[file.stem] = file
    return {name: where for name, where in found.items() if is_name(name)}


def is_name(name: str) -> bool:
    """Whether a signal may be called so."""
    return _NAME.fullmatch(name) is not None
