"""``flowtape top``: a full-screen view of what comes in, what lags and what trades; keys switch the symbol."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from typing import Any

import msgspec
import redis.asyncio as aioredis
from redis.exceptions import RedisError
from rich.console import Console, Group, RenderableType
from rich.live import Live

from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement
from flowtape import status
from flowtape.top_view import screen
from schemas.names import key
from schemas.settings import Settings
from schemas.time import HOUR, SECOND

EVERY_S = 1.0
HOT_US = 60 * SECOND
LIQUIDATIONS = 8
_QUIT, _NEXT, _BEFORE = ("q", "Q", "\x03", "\x04"), ("n", "j", " ", "\x1b[B", "\x1b[C"), ("p", "k", "\x1b[A", "\x1b[D")


class Top:
    """What was read last, and the symbol that is shown."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._questdb = Questdb(settings.questdb.pg)
        self._redis = aioredis.Redis.from_url(settings.redis.url, socket_timeout=2, socket_connect_timeout=2)
        self.before: dict[str, Any] = {}
        self.now: dict[str, Any] = {"workers": {}, "problems": ["reading"], "lag": 0, "as_of": 0}
        self.hot: list[tuple[Any, ...]] = []
        self.liquidations: list[tuple[Any, ...]] = []
        self.candle: dict[str, Any] | None = None
        self.chosen: tuple[str, str] | None = None

    async def read(self) -> None:
        """Everything anew. A server that is away leaves its part empty; ``problems`` says so."""
        self.before, self.now = self.now, await status.collect(self._settings)
        now = self.now["as_of"]
        self.hot, self.liquidations = [], []
        with contextlib.suppress(QuestdbUnreachable, QuestdbRefused):
            self.hot = await self._questdb.fetch(statement("top_symbols"), now - HOT_US)
            recent = "", "", now - HOUR, now + HOUR, LIQUIDATIONS
            self.liquidations = await self._questdb.fetch(statement("web_liquidations", order="DESC"), *recent)
        if self.chosen is None and self.hot:
            self.chosen = (self.hot[0][0], self.hot[0][1])
        self.candle = await self._footprint() if self.chosen else None

    async def _footprint(self) -> dict[str, Any] | None:
        assert self.chosen is not None
        with contextlib.suppress(RedisError, OSError, msgspec.DecodeError):
            text = await self._redis.get(key("footprint", *self.chosen, "1m"))
            return msgspec.json.decode(text) if text else None
        return None

    def switch(self, step: int) -> None:
        """Show the next or the previous of the hottest symbols."""
        names = [(row[0], row[1]) for row in self.hot]
        if names:
            at = names.index(self.chosen) if self.chosen in names else -step
            self.chosen = names[(at + step) % len(names)]
            self.candle = None

    def render(self, height: int) -> RenderableType:
        """The screen, for so many lines."""
        return screen(self.now, self.before, self.hot, self.liquidations, self.chosen, self.candle, height)

    async def close(self) -> None:
        """Let the servers go."""
        await self._questdb.close()
        await self._redis.aclose()


async def show(settings: Settings) -> int:
    """Full screen until ``q`` or Ctrl-C (130); printed once where this is no terminal."""
    top, console = Top(settings), Console()
    try:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            await top.read()
            console.print(Group(top.render(200)))
            return 0
        return await _live(top, console)
    finally:
        await top.close()


async def _live(top: Top, console: Console) -> int:
    pressed: asyncio.Queue[str] = asyncio.Queue(64)
    loop = asyncio.get_running_loop()

    def on_key() -> None:
        with contextlib.suppress(asyncio.QueueFull):
            pressed.put_nowait(os.read(sys.stdin.fileno(), 16).decode(errors="replace"))

    # Before anything is drawn: whoever sees the screen may already press a key.
    loop.add_signal_handler(signal.SIGINT, pressed.put_nowait, "\x03")
    loop.add_signal_handler(signal.SIGTERM, pressed.put_nowait, "q")
    with _keys_as_typed(), Live(top.render(console.height), console=console, screen=True, auto_refresh=False) as live:
        loop.add_reader(sys.stdin.fileno(), on_key)
        try:
            while True:
                await top.read()
                live.update(top.render(console.height), refresh=True)
                with contextlib.suppress(TimeoutError):
                    key_ = await asyncio.wait_for(pressed.get(), EVERY_S)
                    if key_ in _QUIT or key_ == "":
                        return 130 if key_ == "\x03" else 0
                    top.switch((key_ in _NEXT) - (key_ in _BEFORE))
                    live.update(top.render(console.height), refresh=True)
        finally:
            loop.remove_reader(sys.stdin.fileno())


@contextlib.contextmanager
def _keys_as_typed() -> Iterator[None]:
    """Keys come one by one and are not echoed; the terminal is as before afterwards."""
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    try:
        yield
    finally:
        termios.tcsetattr(file, termios.TCSADRAIN, before)
