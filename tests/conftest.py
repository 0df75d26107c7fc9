"""Real servers on free ports, started once per run and stopped by their own process ids."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import structlog
from hypothesis import HealthCheck, settings
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from flowtape import bus, servers
from flowtape.migrate import provision
from flowtape.servers import free_port
from flowtape.waiting import lose_no_cancellation
from schemas.names import STREAMS
from schemas.settings import Settings, load

# The same examples in every run, whatever the machine's speed: a change is judged by what it changes.
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
lose_no_cancellation()  # as in every process of ours

TEST_S_MAX, STUCK_S_MAX = 600, 900
"""After the first a test fails and shows where its tasks wait; one that no exception reaches ends with its process."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """No test hangs a run: what waits for ever is named. Long runs (`make chaos`, `make soak`) are as long as asked."""
    if not _long(item):
        signal.signal(signal.SIGALRM, _overdue)
        signal.setitimer(signal.ITIMER_REAL, TEST_S_MAX, 60)  # once more when tearing down does not end either
        faulthandler.dump_traceback_later(STUCK_S_MAX, exit=True, file=sys.__stderr__)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


def _long(item: pytest.Item) -> bool:
    own_length = {"chaos": "CHAOS_ROUNDS", "soak": "SOAK_MINUTES"}
    return any(item.get_closest_marker(mark) and name in os.environ for mark, name in own_length.items())


def _overdue(*_: object) -> None:
    with contextlib.suppress(RuntimeError):  # no loop runs
        for task in asyncio.all_tasks():
            task.print_stack(file=sys.stderr)
    pytest.fail(f"not over after {TEST_S_MAX} s")


@dataclass(frozen=True)
class Stack:
    """The embedded servers of one test run (or of one test that may kill them)."""

    settings: Settings
    data_dir: Path

    @property
    def nats_url(self) -> str:
        return self.settings.nats.url

    @property
    def questdb_http(self) -> str:
        return self.settings.questdb.http

    @property
    def questdb_pg(self) -> str:
        return self.settings.questdb.pg

    @property
    def redis_url(self) -> str:
        return self.settings.redis.url

    def pid(self, name: str) -> int:
        """The process id of ``nats``, ``questdb`` or ``redis``."""
        return servers.running(self.data_dir)[name].pid

    def kill(self, name: str) -> None:
        """SIGKILL one server, and wait until it is gone: one that is still dying would count as running."""
        process = psutil.Process(self.pid(name))
        process.kill()
        deadline = time.monotonic() + 30
        while servers.running(self.data_dir)[name].alive():
            assert time.monotonic() < deadline, f"{name} survived SIGKILL"
            time.sleep(0.01)

    def start(self) -> None:
        """Start again what was killed, on the same ports; one that somebody took meanwhile is waited for."""
        for tries_left in range(4, -1, -1):
            try:
                servers.start(self.settings)
                return
            except servers.ServerError:
                if not tries_left:
                    raise
                time.sleep(2.0)


def stack_settings(data_dir: Path, text: str = "") -> Settings:
    """Settings for a stack of its own: free ports, everything under ``data_dir``."""
    urls = {
        "FLOWTAPE_DATA_DIR": f'"{data_dir}"',
        "FLOWTAPE_DISK": "4GB",
        "FLOWTAPE_NATS_URL": f"nats://127.0.0.1:{free_port()}",
        "FLOWTAPE_QUESTDB_HTTP": f"http://127.0.0.1:{free_port()}",
        "FLOWTAPE_QUESTDB_PG": f"postgresql://127.0.0.1:{free_port()}/qdb",
        "FLOWTAPE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    return load(text, urls, source="test")


@contextlib.contextmanager
def started(data_dir: Path, text: str = "") -> Iterator[Stack]:
    """A running stack, stopped on the way out whatever happened."""
    settings = _start(data_dir, text)
    try:
        yield Stack(settings, data_dir)
    finally:
        servers.stop(data_dir)


def _start(data_dir: Path, text: str) -> Settings:
    """Started servers. A port that was free when it was chosen may be taken by the time it is used: choose again."""
    for tries_left in (2, 1, 0):
        settings = stack_settings(data_dir, text)
        try:
            servers.start(settings)
        except servers.ServerError:
            servers.stop(data_dir)
            if not tries_left:
                raise
        else:
            return settings
    raise AssertionError("unreachable")


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command run within a test configures the logs for the whole process."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the whole run. A test that kills a server takes ``own_stack``."""
    with started(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own, which it may kill and start again."""
    with started(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="session")
def migrated(stack: Stack) -> Stack:
    """The stack with its streams, buckets, tables and views."""
    asyncio.run(provision(stack.settings, lambda _line: None))
    return stack


def own_migrated(folder: Path) -> Iterator[Stack]:
    """For a module's own ``migrated``: its tests count what lies in tables and log, and nobody else may add to it."""
    with started(folder) as running:
        asyncio.run(provision(running.settings, lambda _line: None))
        yield running


@pytest.fixture
async def nats(migrated: Stack) -> AsyncIterator[Client]:
    """An admin's connection; streams and tables exist, the streams are empty and have no consumers."""
    client = await bus.connect(migrated.settings, "admin")
    context = client.jetstream()
    for stream in STREAMS:
        for consumer in await context.consumers_info(stream):
            with contextlib.suppress(NotFoundError):
                await context.delete_consumer(stream, consumer.name)
        await context.purge_stream(stream)
    yield client
    await client.close()
