"""``AsyncClient``: see ``flowtape.client``."""

from __future__ import annotations

import asyncio
import inspect
import time as clocks
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from nats.aio.client import Client as Nats
from redis.asyncio import Redis

from flowtape import bus, servers, status
from flowtape.columns import Columns, Klines, Trades, columns, joined
from flowtape.configuration import read
from flowtape.following import Once, streams
from schemas import candles, names, time
from schemas.candles import FootprintCandle
from schemas.settings import Settings
from signals._jetstream import facts
from signals._options import options
from signals._stream import Reader
from web import footprint, profile
from web._cache import Cache
from web._desk import Desk
from web._endpoint import Moment
from web._errors import ApiError
from web._instruments import Instruments
from web._stored import Renderer
from web._tables import Tables

PAGE_ROWS = 200_000
PAGE_CANDLES = 1_000
TAKE_S = 1.0
When = int | str
"""µs since the epoch, or ISO 8601."""
_TRADE_ROW = (
    "exchange", "symbol", "timestamp", "received", "trade_id", "price", "quantity", "value", "is_buyer_maker", "fills",
)  # fmt: skip
_KLINE_ROW = (
    "exchange", "symbol", "timestamp", "received", "interval", "open", "high", "low", "close", "volume", "value",
    "trades", "source", "revision",
)  # fmt: skip


class Profile(msgspec.Struct):
    """Volume by price over a range, rows ascending; ``prices`` are lower edges in quote units, sizes in base units."""

    exchange: str
    symbol: str
    from_: int = msgspec.field(name="from")
    to: int
    tick: float
    row: float
    prices: Any
    buys: Any
    sells: Any
    poc: float | None
    vah: float | None
    val: float | None
    sequence: int = 0
    as_of: int = 0

    def __post_init__(self) -> None:
        self.prices, self.buys, self.sells = (
            np.array(values, np.float64) for values in (self.prices, self.buys, self.sells)
        )


class AsyncClient:
    """Reads; every call may raise ApiError, which says in ``code`` and ``message`` what is not there."""

    def __init__(self, config: str | Path | None = None, *, prefix: str = "", settings: Settings | None = None) -> None:
        """``prefix`` reads a replay: its events and what was computed from it, under the names of live ones."""
        self._prefix = prefix
        self._settings = servers.resolve(settings or read(Path(config) if config else None))
        self._nats: Nats | None = None

    async def __aenter__(self) -> AsyncClient:
        its = self._settings
        self._nats = await bus.connect(its, "app", reconnect=True)
        self._redis = Redis.from_url(its.redis.url, socket_timeout=10)
        self._tables = Tables(its.questdb)

        async def shown() -> dict[str, Any]:
            return await status.collect(its)

        self._desk = Desk(
            its, self._tables, Cache(self._redis), Instruments(self._nats, clocks.monotonic), self._nats,
            lambda: clocks.time_ns() // 1000, shown, lambda role: bus.connect(its, role),
            Renderer(options(its.signals)),
        )  # fmt: skip
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        await self.bus.close()
        await self._redis.aclose()
        await self._tables.close()

    @property
    def bus(self) -> Nats:
        """The connection to the log, for what is not offered here."""
        assert self._nats is not None, "enter the client first: `async with AsyncClient() as flow`"
        return self._nats

    # --- tables ------------------------------------------------------------------------------------------------
    async def trades(self, exchange: str, symbol: str, from_: When, to: When | None = None) -> Trades:
        """Trades in [from_, to), ``to`` = now if left out."""
        found: Trades = await self._rows(Trades, "web_trades", _TRADE_ROW, exchange, symbol, from_, to)
        return found

    async def klines(
        self, exchange: str, symbol: str, interval: str, from_: When, to: When | None = None
    ) -> Klines:  # fmt: skip
        """The exchange's closed candles that open in [from_, to)."""
        found: Klines = await self._rows(Klines, "web_klines", _KLINE_ROW, exchange, symbol, from_, to, interval)
        return found

    async def _rows(
        self, kind: type[Columns], name: str, fields: tuple[str, ...], exchange: str, symbol: str, from_: When,
        to: When | None, *more: str,
    ) -> Any:  # fmt: skip
        """All rows of a span, read in pages. A page ends with a whole microsecond: rows may share one."""
        symbol = await self._desk.instruments.canonical(exchange, symbol)
        begin, end = _moment(from_), self._desk.clock() if to is None else _moment(to)
        parts: list[Columns] = []
        while True:
            rows = await self._tables.fetch(name, exchange, symbol, begin, end, PAGE_ROWS, *more, order="ASC")
            whole = len(rows) < PAGE_ROWS
            last = rows[-1][2] if rows else end
            kept = rows if whole else [row for row in rows if row[2] < last]
            if not kept and not whole:
                raise ApiError(413, "too_many", f"{PAGE_ROWS} rows at {last} µs alone")
            parts.append(columns(kind, fields, kept))
            if whole:
                return joined(parts)
            begin = last

    async def footprint(
        self, exchange: str, symbol: str, interval: str = "1m", *, last: int = 100, to: When | None = None
    ) -> list[FootprintCandle]:
        """The ``last`` candles before ``to``, ascending; without ``to`` the open one is among them."""
        found: list[FootprintCandle] = []
        following = ""
        until = None if to is None else Moment(_moment(to))
        while len(found) < last:
            ask = footprint.Ask(
                exchange=exchange, symbol=symbol, interval=interval, limit=min(last - len(found), PAGE_CANDLES),
                to=until, next=following,
            )  # fmt: skip
            page = await footprint.handle(self._desk, ask)
            found = [candles.decode(bytes(text)) for text in page["candles"]] + found
            following = page["next"] or ""
            if not following:
                break
        return found

    async def profile(
        self, exchange: str, symbol: str, from_: When | None = None, to: When | None = None, *, range_: str = ""
    ) -> Profile:
        """Volume by price in [from_, to), or over a named ``range_`` such as ``session`` or ``rolling-4h``."""
        ask = profile.Ask(
            exchange=exchange, symbol=symbol, range=range_,
            from_=None if from_ is None else Moment(_moment(from_)),
            to=None if to is None else Moment(_moment(to)),
        )  # fmt: skip
        return msgspec.json.decode(bytes(await profile.handle(self._desk, ask)), type=Profile)

    # --- live values -------------------------------------------------------------------------------------------
    async def value(self, name: str, exchange: str, symbol: str, *more: str) -> dict[str, Any] | None:
        """What a key of Redis holds, e.g. ``value("vwap", "binance", "BTC-USDT", "session")``; None: there is none."""
        symbol = await self._desk.instruments.canonical(exchange, symbol)
        found = await self._desk.cache.value(names.prefixed_key(self._prefix, names.key(name, exchange, symbol, *more)))
        return None if found is None else msgspec.json.decode(found, type=dict[str, Any])

    async def is_live(self, exchange: str, symbol: str) -> bool:
        """Whether the feed is fresh. Do not trade on one that is not."""
        return await self.value("live", exchange, symbol) is not None

    async def cvd(self, exchange: str, symbol: str) -> dict[str, Any] | None:
        """Cumulative volume delta: of the session, running, and of each open candle."""
        return await self.value("cvd", exchange, symbol)

    async def liquidations(self, exchange: str, symbol: str, range_: str = "rolling-24h") -> dict[str, Any] | None:
        """The heat map of forced orders over a named range."""
        return await self.value("liquidations", exchange, symbol, range_)

    async def indicators(self, exchange: str, symbol: str, interval: str) -> dict[str, Any] | None:
        """The configured indicators of an interval, on the exchange's candles and on ours."""
        return await self.value("indicators", exchange, symbol, interval)

    async def signal(self, name: str, exchange: str, symbol: str) -> dict[str, Any] | None:
        """What a signal of your own says."""
        return await self.value(f"signal:{name}", exchange, symbol)

    # --- events ------------------------------------------------------------------------------------------------
    async def subscribe(self, subject: str, *, since: When | None = None, follow: bool = True) -> AsyncIterator[Any]:
        """Events of a subject as they come, each once; with ``since`` first those stored from then on, and without
        ``follow`` those alone.

        ``md.…`` gives the structs of ``schemas.events``, ``sig.footprint.…`` a FootprintCandle, other signals dicts.
        What comes while the log is away is delivered afterwards. Raises StreamReplaced when the log was made anew.
        """
        begin = 0 if since is None else _moment(since)
        readers = [await self._reader(stream, subject, begin) for stream in streams(subject, self._prefix)]
        once, named = Once(), len(self._prefix) + 1 if self._prefix else 0
        taking = {asyncio.create_task(reader.take(TAKE_S, 1)): reader for reader in readers}
        try:
            while taking:
                done, _ = await asyncio.wait(taking, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    reader, messages = taking.pop(task), task.result()
                    if follow or reader.pending:
                        taking[asyncio.create_task(reader.take(TAKE_S, 1))] = reader
                    for message in messages:
                        for event in once.of(message.subject[named:], message.payload):
                            yield event
        finally:
            for task in taking:
                task.cancel()
            await asyncio.gather(*taking, return_exceptions=True)
            for reader in readers:
                await reader.close()

    async def _reader(self, stream: str, subject: str, begin: int) -> Reader:
        found = await facts(self.bus, stream)
        sequence = 0 if begin else found.last
        its = names.prefixed(self._prefix, subject) if self._prefix else subject
        return Reader(self.bus, stream, found.created, sequence, subjects=[its], since=begin)

    async def on_candle(
        self, act: Callable[[FootprintCandle], Awaitable[object] | object], exchange: str = "*", symbol: str = "*",
        interval: str = "1m", *, since: When | None = None,
    ) -> None:  # fmt: skip
        """Call ``act`` with each closed candle, and again with each revision of one; ends when it returns False."""
        async for candle in self.subscribe(names.signal_subject("footprint", exchange, symbol, interval), since=since):
            answer = act(candle)
            if inspect.isawaitable(answer):
                answer = await answer
            if answer is False:
                return


def _moment(when: When) -> int:
    return when if isinstance(when, int) else time.parse(when)
