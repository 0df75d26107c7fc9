"""Which spool is ours: two producers of one exchange may run beside each other, a restarted one takes over."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

OWNERS_MAX = 9


class Claim(NamedTuple):
    """A spool's name and the lock that holds it."""

    stem: str
    file: int

    def release(self) -> None:
        """Give it back."""
        os.close(self.file)


class SpoolsTaken(RuntimeError):
    """More producers of one exchange run on this machine than there are spools."""


def claim(folder: Path, stem: str) -> Claim:
    """The first free of ``stem``, ``stem_2``, …, with what free ones after it still hold put in front of it."""
    folder.mkdir(parents=True, exist_ok=True)
    claimed: Claim | None = None
    for number in range(1, OWNERS_MAX + 1):
        name = stem if number == 1 else f"{stem}_{number}"
        file = _lock(folder / f"{name}.lock")
        if file is None:
            continue
        if claimed is None:
            claimed = Claim(name, file)
        else:
            _adopt(folder, name, claimed.stem)
            os.close(file)
    if claimed is None:
        raise SpoolsTaken(f"{OWNERS_MAX} producers already use {folder / stem}")
    return claimed


def _lock(path: Path) -> int | None:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _adopt(folder: Path, name: str, stem: str) -> None:
    own = [_number(path) for path in folder.glob(f"{stem}-*.spool")]
    orphans = sorted(folder.glob(f"{name}-*.spool"))
    start = min(own, default=_number(orphans[0]) + len(orphans)) - len(orphans) if orphans else 0
    for offset, path in enumerate(orphans):
        path.rename(folder / f"{stem}-{start + offset:09d}.spool")


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])
