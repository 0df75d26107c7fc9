"""Read the settings: a file named on the command line, else ./flowtape.toml, else the built-in defaults."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.settings import ConfigError, Settings, load

DEFAULT = Path("flowtape.toml")


def read(path: Path | None) -> Settings:
    """The checked settings. Raises ConfigError naming the file and the key."""
    file = path or DEFAULT
    try:
        text = file.read_text(encoding="utf-8") if path or file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(file), "", f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return load(text, os.environ, source=str(file) if text else "built-in defaults")
