"""What the running system costs: processor share and memory of each process at a steady rate."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks._stack import cpu_s, process, stack
from consumers._questdb import query, statement
from flowtape import servers
from flowtape.migrate import provision

WARM_UP_S = 20.0


class Cost(NamedTuple):
    """Processor share (1 = one core) and resident bytes by process, and what came in meanwhile."""

    cores: dict[str, float]
    bytes: dict[str, int]
    trades_per_s: float


def measure(seconds: float, rate: float = 2_500, symbols: int = 100) -> Cost:
    """Both simulated exchanges, half of the symbols and the rate each, every channel, every consumer and signal.

    ``rate`` counts executions; the futures tell aggregates, so about 2,000 events a second arrive.
    """
    with stack() as settings, contextlib.ExitStack() as open_:
        asyncio.run(provision(settings, lambda _line: None))
        port = servers.free_port()
        simulate = ("simulate", "--port", str(port), "--symbols", str(symbols // 2), "--rate", str(rate / 2))
        children = {"simulator": open_.enter_context(process(settings, "-m", "flowtape", *simulate))}
        time.sleep(2)
        variables: dict[str, str] = {}
        for exchange in ("sim_binance", "sim_binance_futures"):
            prefix, path = f"FLOWTAPE_EXCHANGES_{exchange.upper()}", f"127.0.0.1:{port}/{exchange.removeprefix('sim_')}"
            variables |= {f"{prefix}_WS_URL": f"ws://{path}", f"{prefix}_REST_URL": f"http://{path}"}
            variables[f"{prefix}_SYMBOLS"] = '["*"]'
        commands: list[tuple[str, ...]] = [("consume",), ("signal",)]
        for exchange in ("sim_binance", "sim_binance_futures"):
            commands += [("produce", exchange), ("klines", exchange)]
        for command in commands:
            started = process(settings, "-m", "flowtape", *command, **variables)
            children["-".join(command)] = open_.enter_context(started)
        time.sleep(WARM_UP_S)
        for name, running in servers.running(Path(settings.data_dir)).items():
            children[f"({name})"] = psutil.Process(running.pid)
        before = {name: cpu_s(child) for name, child in children.items()}
        rows, began = _rows(settings.questdb.pg), time.monotonic()
        time.sleep(seconds)
        spent = time.monotonic() - began
        cores = {name: (cpu_s(child) - before[name]) / spent for name, child in children.items()}
        resident = {name: int(child.memory_info().rss) for name, child in children.items()}
        return Cost(cores, resident, (_rows(settings.questdb.pg) - rows) / spent)


def _rows(url: str) -> int:
    return int(asyncio.run(query(url, statement("count", table="trades")))[0][0])
