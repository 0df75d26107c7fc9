"""The status line of ``flowtape up``: rewritten in place on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

from flowtape import status
from flowtape.children import Children
from flowtape.log import Enduring
from schemas.settings import Settings

TERMINAL_S, PLAIN_S = 1.0, 5.0


class StatusLine:
    """Shows how much comes in, how much is stored, and what is wrong."""

    def __init__(self, settings: Settings, children: Children, out: Enduring) -> None:
        self._settings, self._children, self._out = settings, children, out
        self._terminal = out.isatty()
        self._before: dict[str, Any] = {}

    async def run(self) -> None:
        """Until cancelled."""
        every_s = TERMINAL_S if self._terminal else PLAIN_S
        while True:
            await asyncio.sleep(every_s)
            now = await status.collect(self._settings)
            text = self._line(now)
            self._before = now
            self._out.write(f"\r\x1b[2K{text}" if self._terminal else f"{text}\n")
            self._out.flush()

    def _line(self, now: dict[str, Any]) -> str:
        rows = now["tables"].get("trades", 0)
        parts = [
            f"trades {rows:,} rows ({self._rate(now, rows):,.0f}/s)",
            f"footprints {now['footprints']['keys']:,}",
            f"lag {now['lag']:,}",
        ]
        if left := _pages_left(now):
            parts.append(f"history: {left:,} pages left")
        if now["dead_letters"]:
            parts.append(f"dead letters {now['dead_letters']:,}")
        problems = [
            f"{child.name} restarted {child.restarts}x" for child in self._children.all.values() if child.restarts
        ]
        problems += now["problems"]
        return "  ".join([*parts, *(f"! {problem}" for problem in problems[:3])])

    def _rate(self, now: dict[str, Any], rows: int) -> float:
        if not self._before:
            return 0.0
        seconds = (now["as_of"] - self._before["as_of"]) / 1e6
        return max(0.0, (rows - self._before["tables"].get("trades", 0)) / seconds) if seconds > 0 else 0.0


def _pages_left(now: dict[str, Any]) -> int:
    """Pages of history that producers still have to read."""
    reading = (worker for worker in now["workers"].values() if worker.get("backfill"))
    return sum(worker["history"].get("left", 0) for worker in reading)
