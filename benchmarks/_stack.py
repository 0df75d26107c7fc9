"""A stack of its own for a benchmark, and the product's commands run against it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from flowtape import servers
from schemas.settings import Settings, load


@contextlib.contextmanager
def stack() -> Iterator[Settings]:
    """Settings of freshly started servers on free ports; stopped and removed on the way out."""
    with tempfile.TemporaryDirectory(prefix="flowtape-bench-") as folder:
        settings = load("", environment(folder))
        try:
            servers.start(settings)
            yield settings
        finally:
            servers.stop(Path(folder))


def environment(folder: str) -> dict[str, str]:
    """Free ports for every server, everything under ``folder``."""
    port = servers.free_port
    return {
        "FLOWTAPE_DATA_DIR": f'"{folder}"',
        "FLOWTAPE_DISK": "8GB",
        "FLOWTAPE_NATS_URL": f"nats://127.0.0.1:{port()}",
        "FLOWTAPE_QUESTDB_HTTP": f"http://127.0.0.1:{port()}",
        "FLOWTAPE_QUESTDB_PG": f"postgresql://127.0.0.1:{port()}/qdb",
        "FLOWTAPE_REDIS_URL": f"redis://127.0.0.1:{port()}/0",
    }


def found(settings: Settings) -> dict[str, str]:
    """The environment in which a command finds the stack of ``settings``."""
    return {
        "FLOWTAPE_DATA_DIR": f'"{settings.data_dir}"',
        "FLOWTAPE_DISK": "8GB",
        "FLOWTAPE_NATS_URL": settings.nats.url,
        "FLOWTAPE_QUESTDB_HTTP": settings.questdb.http,
        "FLOWTAPE_QUESTDB_PG": settings.questdb.pg,
        "FLOWTAPE_REDIS_URL": settings.redis.url,
    }


@contextlib.contextmanager
def process(settings: Settings, *command: str, **extra: str) -> Iterator[psutil.Process]:
    """A Python process (``-m …``) beside the stack; its output goes to a log, its last lines into an error."""
    log = Path(settings.data_dir) / "log" / f"bench-{'-'.join(command[1:3])}.log"
    variables: Mapping[str, str] = {**os.environ, **found(settings), **extra}
    with log.open("ab") as out:
        child = subprocess.Popen([sys.executable, *command], env=dict(variables), stdout=out, stderr=out)
    try:
        yield psutil.Process(child.pid)
        if child.poll() not in (None, 0):
            raise RuntimeError(f"{command} ended with {child.returncode}")
    except (TimeoutError, RuntimeError) as error:
        error.add_note(f"{' '.join(command)}: {log.read_text()[-1500:]}")
        raise
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def wait(child: psutil.Process, seconds: float) -> None:
    """Until the process ends by itself. Raises psutil.TimeoutExpired."""
    child.wait(timeout=seconds)


def cpu_s(child: psutil.Process) -> float:
    """User and system seconds used so far."""
    used = child.cpu_times()
    return float(used.user + used.system)


def until(holds: object, seconds: float, every_s: float = 0.1) -> float:
    """Seconds until ``holds()`` is true. Raises TimeoutError."""
    assert callable(holds)
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"{holds} did not come to hold within {seconds:.0f} s")
        time.sleep(every_s)
    return time.monotonic() - began
