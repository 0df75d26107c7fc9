"""``flowtape status``: what runs, how much came in, what lags, what is wrong; for people and for scripts."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import redis.asyncio as aioredis
from nats import errors
from nats.js.errors import APIError
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement
from flowtape import bus, servers
from schemas.names import KEY_HEALTH, STREAM_DEAD, STREAMS, TABLES, table_durable
from schemas.settings import Settings

HEARTBEAT_AGE_S_MAX = 10.0
KEYS_MAX = 100_000
_NOT_SHOWN = ("pid", "started", "as_of", "cpu_s", "memory_bytes", "age_s", "exchange", "exchange_time", "state")


async def collect(settings: Settings) -> dict[str, Any]:
    """Everything ``status`` shows. A server that does not answer is a problem in the list, never an exception."""
    problems: list[str] = []
    now = time.time_ns() // 1000
    found: dict[str, Any] = {"as_of": now, "servers": _servers(settings, problems)}
    # An embedded server that is down is not asked: on its port there may be a stranger's by now.
    down = {name for name, server in found["servers"].items() if server.get("alive") is False}
    found |= {"streams": {}, "consumers": {}} if "nats" in down else await _log(settings, problems)
    found |= {"tables": {}, "suspended": []} if "questdb" in down else await _tables(settings, problems)
    empty = {"workers": {}, "footprints": {"keys": 0, "closed": 0}}
    found |= empty if "redis" in down else await _cache(settings, now, problems)
    found["dead_letters"] = found["streams"].get(STREAM_DEAD, {}).get("messages", 0)
    found["lag"] = sum(consumer["lag"] for consumer in found["consumers"].values())
    found["problems"] = problems
    found["ok"] = not problems
    return found


def _servers(settings: Settings, problems: list[str]) -> dict[str, Any]:
    state = servers.running(Path(settings.data_dir))
    urls = {"nats": settings.nats.url, "questdb": settings.questdb.http, "redis": settings.redis.url}
    embedded = servers.wanted(settings)
    shown = {}
    for name, url in urls.items():
        alive = state[name].alive() if name in state else False
        shown[name] = {"url": _shown(url), "embedded": name in embedded} | (
            {"alive": alive} if name in embedded else {}
        )
        if name in embedded and not alive:
            problems.append(f"{name} is not running")
    return shown


def _shown(url: str) -> str:
    """The address without a login: what is shown may be seen by many."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


async def _log(settings: Settings, problems: list[str]) -> dict[str, Any]:
    streams: dict[str, Any] = {}
    consumers: dict[str, Any] = {}
    try:
        nats = await bus.connect(settings, "consumer", reconnect=False)
    except (OSError, errors.Error) as error:
        problems.append(f"nats: {error or type(error).__name__}")
        return {"streams": streams, "consumers": consumers}
    try:
        context = nats.jetstream(timeout=3)
        for name in STREAMS:
            found = await context.stream_info(name)
            state, limit = found.state, max(found.config.max_bytes or 0, 0)
            streams[name] = {
                "messages": state.messages, "bytes": state.bytes, "max_bytes": limit, "last_sequence": state.last_seq,
            }  # fmt: skip
            for info in await context.consumers_info(name):
                if info.name.startswith(table_durable("")):
                    waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                    consumers[info.name] = {"lag": waiting, "unacknowledged": info.num_ack_pending or 0}
    except (APIError, errors.Error) as error:
        problems.append(f"nats: {error or type(error).__name__}")
    finally:
        await nats.close()
    return {"streams": streams, "consumers": consumers}


async def _tables(settings: Settings, problems: list[str]) -> dict[str, Any]:
    rows: dict[str, int] = {}
    suspended: list[str] = []
    questdb = Questdb(settings.questdb.pg)
    try:
        for table in TABLES:
            rows[table] = (await questdb.fetch(statement("count", table=table)))[0][0]
        suspended = [row[0] for row in await questdb.fetch(statement("suspended"))]
        problems += [f"table {table} is suspended" for table in suspended]
    except (QuestdbUnreachable, QuestdbRefused) as error:
        problems.append(f"questdb: {error}")
    finally:
        await questdb.close()
    return {"tables": rows, "suspended": suspended}


async def _cache(settings: Settings, now: int, problems: list[str]) -> dict[str, Any]:
    workers: dict[str, Any] = {}
    keys = closed = 0
    cache = aioredis.Redis.from_url(
        settings.redis.url, socket_timeout=3, socket_connect_timeout=2, decode_responses=True
    )
    try:
        for name, beat in (await cache.hgetall(KEY_HEALTH)).items():  # a few dozen workers at most
            worker = msgspec.json.decode(beat)
            worker["age_s"] = round((now - worker["as_of"]) / 1e6, 1)
            workers[str(name)] = worker
            for url, why in worker.get("alarms", {}).items():
                problems.append(f"{name!s}: nothing comes over {url}: {why}")
            if worker["age_s"] > HEARTBEAT_AGE_S_MAX:
                problems.append(f"{name!s} was last heard {worker['age_s']:.0f} s ago")
        async for key in cache.scan_iter("footprint:*", count=1000):
            keys += 1
            closed += key.endswith(":closed")
            if keys >= KEYS_MAX:
                break
    except (RedisError, OSError, msgspec.DecodeError) as error:
        problems.append(f"redis: {error or type(error).__name__}")
    finally:
        await cache.aclose()
    return {"workers": workers, "footprints": {"keys": keys, "closed": closed}}


async def show(settings: Settings, *, as_json: bool) -> int:
    """Print the status; 0 when all is well, else 1."""
    found = await collect(settings)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    else:
        _print(found)
    return 0 if found["ok"] else 1


def _print(found: dict[str, Any]) -> None:
    console = Console()
    for name, server in found["servers"].items():
        console.print(
            f"{name:10} {'down' if server.get('alive') is False else 'up':6} {server['url']}", highlight=False
        )
    table = Table("table", "rows", "lag", "unacknowledged")
    for name, rows in found["tables"].items():
        consumer = found["consumers"].get(table_durable(name), {})
        table.add_row(name, f"{rows:,}", str(consumer.get("lag", "")), str(consumer.get("unacknowledged", "")))
    console.print(table)
    table = Table("worker", "last heard", "state")
    for name, worker in sorted(found["workers"].items()):
        facts = {k: v for k, v in worker.items() if k not in _NOT_SHOWN and v and isinstance(v, int | float | str)}
        table.add_row(name, f"{worker['age_s']} s", "  ".join(f"{k} {_brief(v)}" for k, v in facts.items()))
    console.print(table)
    console.print(f"footprint keys {found['footprints']['keys']:,}   dead letters {found['dead_letters']:,}")
    for problem in found["problems"]:
        console.print(f"[red]! {problem}[/red]")


def _brief(value: Any) -> str:
    if isinstance(value, int | float):
        return f"{value:,}"
    return str(value)[:40]
