"""The QuestDB jar: fetched once by its Maven coordinates, checksum verified, kept beside the virtual environment."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

VERSION = "9.3.4"
SHA256 = "939bc53ab22f93dbaa6545143a6e7c536d4904c07b7f2d381e8eef10436be062"


class JarError(RuntimeError):
    """The jar could not be fetched, or is not the one expected."""


def path() -> Path:
    """Where the jar lies; it need not exist yet."""
    return Path(sys.prefix) / "share" / "flowtape" / f"questdb-{VERSION}.jar"


def verified() -> bool:
    """Whether the jar is there and is the one expected."""
    return path().is_file() and _sha256(path()) == SHA256


def fetch() -> Path:
    """The jar, fetched if need be. Raises JarError when it cannot be had or its checksum differs."""
    target = path()
    if verified():
        return target
    from jgo.maven import MavenContext  # imported here: only set-up needs it, and it is slow to import

    with tempfile.TemporaryDirectory(prefix="flowtape-jar-") as cache:
        context = MavenContext(repo_cache=Path(cache))
        try:
            artifact = context.project("org.questdb", "questdb").at_version(VERSION).artifact()
            found = Path(artifact.resolve())
        except (OSError, RuntimeError, ValueError) as error:
            raise JarError(f"cannot fetch org.questdb:questdb:{VERSION}: {error}") from error
        if (actual := _sha256(found)) != SHA256:
            raise JarError(f"org.questdb:questdb:{VERSION} has SHA-256 {actual}, expected {SHA256}")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".part")
        shutil.copyfile(found, partial)
        os.replace(partial, target)
    return target


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    print(f"QuestDB {VERSION}: ", end="", flush=True)
    try:
        fetch()
    except JarError as problem:
        sys.exit(f"failed\nflowtape: {problem}")
    print("ready")
