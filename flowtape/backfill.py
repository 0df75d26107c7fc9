"""``flowtape backfill``: a part of history, read by hand; and the bar that shows how far history has come."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, TextIO

from nats.aio.client import Client

from flowtape import worker
from flowtape.log import Enduring
from producers._order import Order, Progress
from producers._rest import RestError
from producers._run import backfill
from schemas import time
from schemas.settings import Settings

WIDTH = 30
LOOK_S = 0.5


class Bar:
    """A line that is written over as long as it is on a terminal; elsewhere nothing is shown."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._shown = out, False
        self._terminal = out.isatty()

    def show(self, done: int, total: int, text: str) -> None:
        """Show ``done`` of ``total``, and a few words."""
        if self._terminal:
            filled = WIDTH * done // max(total, 1)
            self._out.write(
                f"\r\x1b[2K[{'#' * filled}{'.' * (WIDTH - filled)}] {100 * done // max(total, 1)} %  {text}"
            )
            self._out.flush()
            self._shown = True

    def end(self) -> None:
        """Leave the line as it is."""
        if self._shown:
            self._out.write("\n")
            self._out.flush()
            self._shown = False


async def watch(health: dict[str, Any], out: TextIO) -> None:
    """Show how far a producer's history has come, until cancelled."""
    bar = Bar(out)
    while True:
        await asyncio.sleep(LOOK_S)
        history, said = health.get("history", {}), health.get("backfill", "")
        if said:
            read, left = history.get("read", history.get("pages", 0)), history.get("left", 0)
            bar.show(read, read + left if "read" in history else 0, f"history: {said}")
        else:
            bar.end()


def run(settings: Settings, order: Order) -> int:
    """Carry out an order; 0 when all of it is in the log, 1 where the exchange did not give it, 130 after Ctrl-C."""
    bar = Bar(Enduring(sys.stderr))  # type: ignore[arg-type]  # all of a TextIO that is used
    found: list[Progress] = []
    problem: list[RestError] = []

    def told(progress: Progress) -> None:
        found.append(progress)
        bar.show(progress.done, progress.total, f"{progress.events:,} events")

    async def work(nats: Client, _: Any, stop: asyncio.Event, health: dict[str, Any]) -> None:
        try:
            await backfill(order, settings, nats, stop, told)
        except RestError as error:
            problem.append(error)
        health.clear()

    code = worker.run(settings, "producer", f"backfill-{order.exchange}", work)
    bar.end()
    last = found[-1] if found else Progress(0, 0, 0)
    print(f"{order.word} of {order.symbol} on {order.exchange}: {last.events:,} events")
    if last.since:
        print(f"the exchange serves none before {time.iso(last.since)}")
    if problem:
        print(f"flowtape: {problem[0]}; what was read is stored, the same command goes on", file=sys.stderr)
        return 1
    return code
