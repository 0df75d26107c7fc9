"""Compiled kernels never outlive the code they came from."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from signals import _cache


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one file in place of our own."""
    (tmp_path / "kernel.py").write_text("STEP = 1\n")
    monkeypatch.setattr(_cache, "_SOURCES", (tmp_path,))
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def test_another_state_of_any_file_is_another_folder_and_the_same_state_the_same(sources: Path) -> None:
    first = _cache.folder()
    assert first.parent == sources / "cache"
    (sources / "kernel.py").write_text("STEP = 2\n")
    assert _cache.folder() != first
    (sources / "kernel.py").write_text("STEP = 1\n")
    assert _cache.folder() == first


def test_a_process_started_by_another_takes_the_same_folder(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _cache.folder()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(first))
    assert _cache.folder() == first


def test_set_up_removes_what_was_compiled_from_other_code_and_keeps_the_rest(sources: Path) -> None:
    current, old, other = _cache.folder(), sources / "cache" / "kernels-old", sources / "cache" / "notes"
    for folder in (current, old, other):
        folder.mkdir(parents=True)
    _cache.sweep()
    assert current.exists()
    assert other.exists()
    assert not old.exists()


def test_kernels_of_a_new_process_are_kept_there(tmp_path: Path) -> None:
    script = "import numba, signals._merge; print(numba.config.CACHE_DIR)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert Path(out.stdout.strip()).parent == tmp_path
