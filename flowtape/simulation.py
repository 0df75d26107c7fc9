"""``flowtape simulate``: the exchange simulator in a process of its own."""

from __future__ import annotations

import asyncio
import signal

from flowtape import log
from flowtape.servers import ServerError
from flowtape.worker import loop_factory, stop_signals
from simulator import _run


def run(host: str, port: int, *, seed: int, symbols: int, rate: float) -> int:
    """Serve until a signal comes; 130 after Ctrl-C. Raises ServerError where it cannot listen."""
    log.configure("simulate")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            return runner.run(_serve(host, port, seed, symbols, rate))
        except OSError as error:
            raise ServerError("simulate", f"cannot listen on {host}:{port}: {error.strerror}") from error


async def _serve(host: str, port: int, seed: int, symbols: int, rate: float) -> int:
    stop, seen = stop_signals()
    await _run.simulate(
        host=host, port=port, seed=seed, symbols=symbols, rate=rate, stop=stop,
        ready=lambda bound: print(f"simulating on ws://{host}:{bound}/<exchange>", flush=True),
    )  # fmt: skip
    return 130 if signal.SIGINT in seen else 0
