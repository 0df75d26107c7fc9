"""Worker processes: started, restarted with capped backoff when they die, stopped in order, never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

BACKOFF_S_MIN, BACKOFF_S_MAX = 0.5, 30.0
HEALTHY_S = 60.0
STOP_S_MAX = 20.0
LOG_BYTES_MAX = 20_000_000
_MARK = "_FLOWTAPE_WORKER"
"""What a worker is known by: the variable it was started with, ``<data_dir>/<name>``."""
_log = structlog.get_logger()


@dataclass
class Child:
    """One worker: its name, its arguments after ``flowtape``, its own environment."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    problem: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Children:
    """The workers of one ``flowtape up``."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._stopping = False
        self.all: dict[str, Child] = {}

    def start(self, child: Child) -> None:
        """Run ``child`` until it is stopped; when it dies it is started again."""
        self.all[child.name] = child
        child.task = asyncio.create_task(self._keep(child))

    async def _keep(self, child: Child) -> None:
        wait_s = BACKOFF_S_MIN
        while not self._ending():
            began = time.monotonic()
            code = await self._run(child)
            if self._ending():
                return
            child.restarts += 1
            child.problem = _last_line(self._log_file(child))
            wait_s = BACKOFF_S_MIN if time.monotonic() - began > HEALTHY_S else min(wait_s * 2, BACKOFF_S_MAX)
            _log.warning("worker_died", name=child.name, code=code, again_in_s=wait_s, last_line=child.problem)
            await asyncio.sleep(wait_s)

    def _ending(self) -> bool:
        return self._stopping

    async def _run(self, child: Child) -> int:
        file = self._log_file(child)
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_size > LOG_BYTES_MAX:
                os.replace(file, file.with_suffix(".log.1"))
        with file.open("ab") as out:
            child.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "flowtape", *child.arguments,
                stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **child.environment, _MARK: str(self._data_dir.resolve() / child.name)},
                start_new_session=True,
            )  # fmt: skip
        return await child.process.wait()

    def _log_file(self, child: Child) -> Path:
        return self._data_dir / "log" / f"{child.name}.log"

    async def stop_all(self, first: tuple[str, ...]) -> None:
        """SIGTERM, those whose name begins with ``first`` before the others; SIGKILL after STOP_S_MAX."""
        self._stopping = True
        early = [child for child in self.all.values() if child.name.startswith(first)]
        late = [child for child in self.all.values() if not child.name.startswith(first)]
        for group in (early, late):
            await asyncio.gather(*(_stop(child) for child in group))


async def _stop(child: Child) -> None:
    if child.task and (child.process is None or child.process.returncode is not None):
        child.task.cancel()  # it waits to be started again
    elif child.process:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(child.process.wait(), STOP_S_MAX)
        except TimeoutError:
            _log.error("worker_killed", name=child.name, after_s=STOP_S_MAX)
            with contextlib.suppress(ProcessLookupError):
                child.process.kill()
            await child.process.wait()
    if child.task:
        with contextlib.suppress(asyncio.CancelledError):
            await child.task


def started(data_dir: Path) -> dict[str, list[psutil.Process]]:
    """By worker, what a `flowtape up` of ``data_dir`` started and still runs: the worker, then its own processes."""
    folder, its = data_dir.resolve(), list[tuple[float, str, psutil.Process]]()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):  # it has ended, or is not ours to look into
            worker = Path(process.environ().get(_MARK, ""))
            if worker.parent == folder:
                its.append((process.create_time(), worker.name, process))
    found: dict[str, list[psutil.Process]] = {}
    for _, name, process in sorted(its, key=lambda one: one[0]):
        found.setdefault(name, []).append(process)
    return found


def end_leftovers(data_dir: Path) -> None:
    """End workers that a killed ``up`` left running, even one that it started in its last moment."""
    left = [process for processes in started(data_dir).values() for process in processes]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=STOP_S_MAX)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()


def _last_line(file: Path) -> str:
    with contextlib.suppress(OSError), file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 2_000))
        lines = stream.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""
    return ""
