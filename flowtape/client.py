"""Read flowtape from a program of yours: tables as NumPy columns, live values, events as they come.

    from flowtape.client import Client

    with Client() as flow:
        candles = flow.footprint("binance", "BTC-USDT", "1m", last=100)
        trades = flow.trades("binance", "BTC-USDT", from_="2026-11-01", to="2026-11-02")
        for trade in flow.subscribe("md.trade.*.BTC-USDT"):
            print(trade.price)

``AsyncClient`` is the same with ``async with``, ``await`` and ``async for``. Where the servers are is read from
``flowtape.toml`` like everywhere; the client only ever reads.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from flowtape.async_client import AsyncClient, Profile, When
from flowtape.columns import Columns, Klines, Trades
from schemas import names
from schemas.candles import FootprintCandle
from schemas.settings import Settings
from web._errors import ApiError

__all__ = ["ApiError", "AsyncClient", "Client", "Columns", "FootprintCandle", "Klines", "Profile", "Trades"]
T = TypeVar("T")


class Client:
    """``AsyncClient`` for programs without an event loop: one runs in a thread of its own. Safe to share."""

    def __init__(self, config: str | Path | None = None, *, prefix: str = "", settings: Settings | None = None) -> None:
        self._its = AsyncClient(config, prefix=prefix, settings=settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flowtape-client", daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        try:
            self._run(self._its.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            self._run(self._its.__aexit__(kind, error, where))
        finally:
            self._end()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def trades(self, exchange: str, symbol: str, from_: When, to: When | None = None) -> Trades:
        """As AsyncClient.trades."""
        return self._run(self._its.trades(exchange, symbol, from_, to))

    def klines(self, exchange: str, symbol: str, interval: str, from_: When, to: When | None = None) -> Klines:
        """As AsyncClient.klines."""
        return self._run(self._its.klines(exchange, symbol, interval, from_, to))

    def footprint(
        self, exchange: str, symbol: str, interval: str = "1m", *, last: int = 100, to: When | None = None
    ) -> list[FootprintCandle]:
        """As AsyncClient.footprint."""
        return self._run(self._its.footprint(exchange, symbol, interval, last=last, to=to))

    def profile(
        self, exchange: str, symbol: str, from_: When | None = None, to: When | None = None, *, range_: str = ""
    ) -> Profile:
        """As AsyncClient.profile."""
        return self._run(self._its.profile(exchange, symbol, from_, to, range_=range_))

    def value(self, name: str, exchange: str, symbol: str, *more: str) -> dict[str, Any] | None:
        """As AsyncClient.value."""
        return self._run(self._its.value(name, exchange, symbol, *more))

    def is_live(self, exchange: str, symbol: str) -> bool:
        """As AsyncClient.is_live."""
        return self._run(self._its.is_live(exchange, symbol))

    def cvd(self, exchange: str, symbol: str) -> dict[str, Any] | None:
        """As AsyncClient.cvd."""
        return self._run(self._its.cvd(exchange, symbol))

    def liquidations(self, exchange: str, symbol: str, range_: str = "rolling-24h") -> dict[str, Any] | None:
        """As AsyncClient.liquidations."""
        return self._run(self._its.liquidations(exchange, symbol, range_))

    def indicators(self, exchange: str, symbol: str, interval: str) -> dict[str, Any] | None:
        """As AsyncClient.indicators."""
        return self._run(self._its.indicators(exchange, symbol, interval))

    def signal(self, name: str, exchange: str, symbol: str) -> dict[str, Any] | None:
        """As AsyncClient.signal."""
        return self._run(self._its.signal(name, exchange, symbol))

    def subscribe(self, subject: str, *, since: When | None = None, follow: bool = True) -> Iterator[Any]:
        """As AsyncClient.subscribe."""
        coming = self._its.subscribe(subject, since=since, follow=follow)
        try:
            while (event := self._run(_next(coming))) is not _END:
                yield event
        finally:
            self._run(_close(coming))

    def on_candle(
        self, act: Callable[[FootprintCandle], object], exchange: str = "*", symbol: str = "*", interval: str = "1m",
        *, since: When | None = None,
    ) -> None:  # fmt: skip
        """As AsyncClient.on_candle; ``act`` is called in the caller's thread."""
        subject = names.signal_subject("footprint", exchange, symbol, interval)
        for candle in self.subscribe(subject, since=since):
            if act(candle) is False:
                return


_END = object()


async def _next(coming: AsyncIterator[Any]) -> Any:
    return await anext(coming, _END)


async def _close(coming: Any) -> None:
    await coming.aclose()
