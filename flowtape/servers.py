"""Start, stop and find the embedded servers. What runs where is recorded in ``<data_dir>/servers.json``."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psutil

from flowtape import jar
from flowtape.embedded import HOST, SERVERS, Server
from schemas.names import UNCLEAN_START
from schemas.settings import ConfigError, Default, Settings, is_loopback

STOP_S_MAX = 20.0
HUNG_S_MAX = 5.0
PORT_FREE_S_MAX = 3.0
PORTS = range(15_000, 32_000)
"""Below those that systems give to outgoing connections: such a one may take a port before its server does."""
PORT_TRIES_MAX = 200
_POLL_S = 0.05
CLEAN_STOP = "stopped-cleanly"
_launched: dict[int, subprocess.Popen[bytes]] = {}
"""Servers outlive the command that started them; while it lives it is their parent and collects their exit."""
_COMPLAINTS = ("[FTL]", "nats-server:", "FATAL", "rror", "xception")


def _silent(_line: str) -> None:
    """Report nothing."""


class ServerError(RuntimeError):
    """A server that did not start, in one line."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name, self.reason = name, reason


class Running(msgspec.Struct):
    """One started server: its process (pid and start time tell it from a stranger) and its ports."""

    pid: int
    created: float
    ports: dict[str, int]

    def alive(self) -> bool:
        """Whether this very process still runs."""
        _reap(self.pid)
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


def _record(data_dir: Path) -> Path:
    return data_dir / "servers.json"


def running(data_dir: Path) -> dict[str, Running]:
    """What was started under ``data_dir``, alive or not. A damaged record counts as none."""
    try:
        return msgspec.json.decode(_record(data_dir).read_bytes(), type=dict[str, Running])
    except (OSError, msgspec.DecodeError):
        return {}


def _save(data_dir: Path, state: Mapping[str, Running]) -> None:
    partial = _record(data_dir).with_suffix(".part")
    partial.write_bytes(msgspec.json.encode(state))
    os.replace(partial, _record(data_dir))


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "servers.lock").open("w")
    except OSError as error:
        raise ServerError("servers", f"cannot write to data_dir {data_dir}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wanted(settings: Settings) -> dict[str, str]:
    """Embedded servers by name, with the URL whose port each should listen on. Raises ConfigError off loopback."""
    urls = {
        "nats": (settings.nats.embedded, settings.nats.url, "nats.url"),
        "questdb": (settings.questdb.embedded, settings.questdb.http, "questdb.http"),
        "redis": (settings.redis.embedded, settings.redis.url, "redis.url"),
    }
    found = {}
    for name, (embedded, url, key) in urls.items():
        if embedded:
            if not is_loopback(urlsplit(url).hostname or ""):
                raise ConfigError("configuration", key, f"{url!r}: an embedded server listens on loopback only")
            found[name] = url
    return found


def start(settings: Settings, report: Callable[[str], None] = _silent) -> dict[str, Running]:
    """Start what is wanted and not alive, wait until each is ready, and return all that runs.

    Raises ServerError (missing binary, full disk, broken configuration, an explicit port in use) or ConfigError.
    """
    data_dir = Path(settings.data_dir)
    urls = wanted(settings)
    with _locked(data_dir):
        state = running(data_dir)
        fresh = {}
        for name, url in urls.items():
            if name in state and state[name].alive():
                continue
            fresh[name] = _launch(SERVERS[name], data_dir, _ports(settings, SERVERS[name], url, state.get(name)))
            state[name] = fresh[name][0]
            _save(data_dir, state)
            report(f"starting {name} on {HOST}:{next(iter(state[name].ports.values()))}")
        for name, (process, child) in fresh.items():
            _await_ready(SERVERS[name], process, child, data_dir)
    return {name: state[name] for name in urls}


def _ports(settings: Settings, server: Server, url: str, before: Running | None) -> dict[str, int]:
    """The port of the URL and those beside it. A default that is taken moves; an explicit one in use is an error."""
    moves = isinstance(url, Default)
    first, *others = server.ports
    explicit = urlsplit(url).port or server.ports[first]
    ports = {first: explicit} | {role: server.ports[role] for role in others}
    if server.name == "questdb" and not isinstance(settings.questdb.pg, Default):
        ports["pg"] = urlsplit(settings.questdb.pg).port or ports["pg"]
    if before and (moves or before.ports.get(first) == explicit):
        ports = dict(before.ports)
        deadline = time.monotonic() + PORT_FREE_S_MAX  # a killed server's port needs a moment
        while not all(map(_free, ports.values())) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
    fixed = set() if moves else {first}
    if server.name == "questdb" and not isinstance(settings.questdb.pg, Default):
        fixed.add("pg")
    for role, port in ports.items():
        if port == 0 or not _free(port):
            if role in fixed and port:
                raise ServerError(server.name, f"port {port} is in use by another program; name a free one in {url!r}")
            ports[role] = free_port()
    return ports


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A loopback port nothing listens on now; two who ask at once hardly get the same. Raises ServerError."""
    for _ in range(PORT_TRIES_MAX):
        port = random.choice(PORTS)
        if _free(port):
            return port
    raise ServerError("servers", f"no free port between {PORTS[0]} and {PORTS[-1]}")


def _launch(server: Server, data_dir: Path, ports: dict[str, int]) -> tuple[Running, subprocess.Popen[bytes]]:
    directory = (data_dir / server.name).resolve()
    log = (data_dir / "log").resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        log.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(directory).free) < server.disk_bytes_min:
            need = server.disk_bytes_min
            raise ServerError(server.name, f"disk full: {free:,} bytes free under {data_dir}, {need:,} needed")
        if server.name == "questdb" and not jar.path().is_file():
            raise ServerError(server.name, f"its jar is missing ({jar.path().name}); run `make setup`")
        if server.name == "questdb":
            _note_start(directory, data_dir)
        command = server.command(directory, ports)
        environment = {"FLOWTAPE_NATS_PASSWORD": "", **os.environ}
        with (log / f"{server.name}.log").open("ab") as out:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
            )
    except ImportError as error:
        raise ServerError(server.name, f"its package is missing ({error.name}); run `make setup`") from error
    except FileNotFoundError as error:
        raise ServerError(server.name, f"its binary is missing ({error.filename}); run `make setup`") from error
    except OSError as error:
        raise ServerError(server.name, f"cannot start under {data_dir}: {error.strerror}") from error
    _launched[child.pid] = child
    return Running(child.pid, psutil.Process(child.pid).create_time(), ports), child


def _note_start(directory: Path, data_dir: Path) -> None:
    """Tell the consumers of a start that no clean stop came before: rows may be gone that were acknowledged."""
    clean = directory / CLEAN_STOP
    if (directory / "db").exists() and not clean.exists():
        beside = data_dir / f"{UNCLEAN_START}.part"
        beside.write_text(str(time.time_ns() // 1000))
        os.replace(beside, data_dir / UNCLEAN_START)
    clean.unlink(missing_ok=True)


def _note_stop(directory: Path) -> None:
    """What it had is on disk: the next start is a clean one."""
    os.sync()
    with contextlib.suppress(OSError):
        (directory / CLEAN_STOP).touch()


def _await_ready(server: Server, process: Running, child: subprocess.Popen[bytes], data_dir: Path) -> None:
    deadline = time.monotonic() + server.ready_s_max
    while not (server.ready(process.ports) and _listens(process)):
        if child.poll() is not None:
            raise ServerError(server.name, f"stopped while starting: {_last_words(data_dir, server.name)}")
        if time.monotonic() > deadline:
            raise ServerError(server.name, f"not ready after {server.ready_s_max:.0f} s; see log/{server.name}.log")
        time.sleep(_POLL_S)


def _listens(process: Running) -> bool:
    """Whether it is this process that has its ports: one of a stack that started at the same moment may answer too."""
    try:
        found = psutil.Process(process.pid).net_connections(kind="tcp")
    except psutil.AccessDenied:  # a system that does not tell
        return True
    except psutil.NoSuchProcess:
        return False
    return set(process.ports.values()) <= {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


def _last_words(data_dir: Path, name: str) -> str:
    """The line of a server's log that most likely says why it stopped."""
    try:
        lines = (data_dir / "log" / f"{name}.log").read_text(errors="replace").splitlines()[-60:]
    except OSError:
        return "no log"
    told = [
        line for line in lines if any(mark in line for mark in ("[FTL]", "nats-server:", "FATAL", "rror", "xception"))
    ]
    return (told or lines or ["no output"])[-1].strip()[:300]


def stop(data_dir: Path, report: Callable[[str], None] = _silent) -> None:
    """Stop what was started here and still runs: SIGTERM, then SIGKILL after STOP_S_MAX."""
    with _locked(data_dir):
        alive = {name: process for name, process in running(data_dir).items() if process.alive()}
        for process in alive.values():
            os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        for name, process in alive.items():
            if _ended(process, deadline) and name == "questdb":
                _note_stop(data_dir / name)
            report(f"stopped {name}")


def end(data_dir: Path, name: str) -> None:
    """End one server, hung or not: SIGTERM, then SIGKILL after HUNG_S_MAX."""
    process = running(data_dir).get(name)
    if process is None or not process.alive():
        return
    os.kill(process.pid, signal.SIGTERM)
    _ended(process, time.monotonic() + HUNG_S_MAX)


def _ended(process: Running, deadline: float) -> bool:
    """Wait for a process that was told to stop; SIGKILL after ``deadline``. Whether it ended by itself.

    Its exit is collected where it is ours.
    """
    while process.alive() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    by_itself = not process.alive()
    if not by_itself:
        os.kill(process.pid, signal.SIGKILL)
    child = _launched.pop(process.pid, None)
    if child is not None:
        child.wait()
    return by_itself


def answering(data_dir: Path) -> dict[str, bool]:
    """Whether each server that runs answers its ready-check now (within its two seconds)."""
    state = running(data_dir)
    return {name: SERVERS[name].ready(process.ports) for name, process in state.items() if process.alive()}


def _reap(pid: int) -> None:
    if pid in _launched and _launched[pid].poll() is not None:
        del _launched[pid]


def resolve(settings: Settings) -> Settings:
    """The settings with the ports the embedded servers really listen on."""
    state = running(Path(settings.data_dir))
    if settings.nats.embedded and (found := state.get("nats")):
        settings.nats.url = _with_port(settings.nats.url, found.ports["client"])
    if settings.questdb.embedded and (found := state.get("questdb")):
        settings.questdb.http = _with_port(settings.questdb.http, found.ports["http"])
        settings.questdb.pg = _with_port(settings.questdb.pg, found.ports["pg"])
    if settings.redis.embedded and (found := state.get("redis")):
        settings.redis.url = _with_port(settings.redis.url, found.ports["client"])
    return settings


def missing(settings: Settings) -> list[str]:
    """Embedded servers that were not started here: flowtape never writes to a stranger's."""
    state = running(Path(settings.data_dir))
    return [name for name in wanted(settings) if name not in state]


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    login = f"{parts.username}:{parts.password}@" if parts.username else ""
    return urlunsplit(parts._replace(netloc=f"{login}{parts.hostname}:{port}"))
