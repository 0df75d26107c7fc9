"""``footprint:all:BTC-USD:1m``, ``cvd:all:…``, ``profile:all:…``: exchanges as one, spot and perpetuals apart.

Made from the keys of the single exchanges, whichever engine writes them. ``sig.footprint`` tells which closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from redis.asyncio import Redis

from schemas import candles, time
from schemas.candles import FootprintCandle
from schemas.names import key
from schemas.settings import Settings
from signals import cvd, footprint, profile
from signals._options import options
from signals._pools import Pools, Who
from signals._redis import Member, Value
from signals._series import Series, Source, footprints
from signals._sum import ProfileRows, SumWriter, lots, size

RANGES = ("session", "previous", "week")
CLOSED_AT_ONCE = 200
"""Closed sums made in one poll, so that open ones never wait long."""
_TRIES = 20
"""Polls a closed candle may take from the log to Redis."""
_STALE = 10 * time.SECOND
_profile = msgspec.json.Decoder(ProfileRows).decode


class _Cvd(msgspec.Struct):
    session: float
    since: int
    total: float
    total_since: int
    sequence: int
    as_of: int


_cvd = msgspec.json.Decoder(_Cvd).decode
Moment = tuple[str, str, str, int]
"""Sum, interval, open time."""


class SumsOverExchanges(Series):
    """Keeps no candle: reads its members' from Redis when they have changed."""

    name = "sums"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._intervals = tuple(settings.signals.intervals)
        self._pools = Pools(settings.signals.stable)
        self._writer = SumWriter(options(settings.signals))
        self._ranges = (*RANGES, *(f"rolling-{name}" for name in settings.signals.profile.rolling))
        self._closed: dict[Moment, dict[Who, tuple[int, bool]]] = {}
        """Closed candles to be summed, and what the log said of members: revision, whether complete."""
        self._tries: dict[Moment, int] = {}
        self._before: dict[bytes, list[bytes | None]] = {}
        self._ready: dict[tuple[str, ...], list[Value | Member]] = {}
        self._renew = True
        self.given_up = 0

    def sources(self) -> tuple[Source, ...]:
        return (footprints(self._intervals, 10 * time.MINUTE),)

    def take(self, _word: str, event: FootprintCandle, _sequence: int) -> None:
        pool = self._pools.add((event.exchange, event.symbol))
        if pool is not None:
            told = self._closed.setdefault((*pool, event.interval, event.timestamp), {})
            told[event.exchange, event.symbol] = event.revision, event.complete

    def known(self) -> Iterable[tuple[str, ...]]:
        return ()

    def everything(self) -> None:
        """All again, from what Redis holds at the next poll."""
        self._renew = True

    def render(self, who: tuple[str, ...]) -> tuple[list[Value], list[Member]]:
        made = self._ready.pop(who, [])
        return [one for one in made if isinstance(one, Value)], [one for one in made if isinstance(one, Member)]

    def _put(self, made: Value | Member) -> None:
        who = (made.key.decode(),)
        self._ready.setdefault(who, []).append(made)
        self.dirty.add(who)

    async def poll(self, cache: Redis) -> None:
        if self._renew:
            await self._discover(cache)
            self._before.clear()
            self._renew = False
        await self._sum_closed(cache)
        for pool in list(self._pools):
            for interval in self._intervals:
                await self._sum_open(cache, pool, interval)
            await self._sum_cvd(cache, pool)
            for name in self._ranges:
                await self._sum_profile(cache, pool, name)

    async def _discover(self, cache: Redis) -> None:
        """Members and their closed candles, as Redis holds them."""
        async for name in cache.scan_iter(f"{footprint.NAME}:*:closed", count=1000):
            _, exchange, symbol, interval, _ = bytes(name).decode().split(":")
            pool = self._pools.add((exchange, symbol))
            if pool is not None and interval in self._intervals:
                scored: Any = await cache.zrange(name, 0, -1, withscores=True)
                for _, score in scored:
                    self._closed.setdefault((*pool, interval, int(score)), {})

    async def _sum_closed(self, cache: Redis) -> None:
        for moment in sorted(self._closed, key=lambda one: -one[3])[:CLOSED_AT_ONCE]:
            exchange, symbol, interval, at = moment
            who = (exchange, symbol)
            present, absent, carried = [], [], 0
            for member in self._pools.members(who):
                name = key(footprint.NAME, *member, interval, "closed")
                found: Any = await cache.zrevrangebyscore(name, at, "-inf", start=0, num=1)
                last = candles.decode(found[0]) if found else None
                if last is not None and last.timestamp == at:
                    present.append(last)
                else:
                    absent.append(":".join(member))
                    carried += _carried(last, at)
            if self._waits(moment, present) or not present:
                continue
            told = {"members": [f"{one.exchange}:{one.symbol}" for one in present], "stale": absent}
            total = carried + sum(lots(one.cvd) for one in present)
            text = self._writer.candle(who, present, total, told)
            name = key(footprint.NAME, *who, interval, "closed")
            self._put(Member(name.encode(), at, text, max(one.sequence for one in present)))

    def _waits(self, moment: Moment, present: list[FootprintCandle]) -> bool:
        """Whether Redis is behind the log; not for ever, for what was told may have been pruned there."""
        held = {(one.exchange, one.symbol): (one.revision, one.complete) for one in present}
        behind = [
            who for who, (revision, complete) in self._closed[moment].items()
            if held.get(who, (-1, complete))[0] < revision or held[who] == (revision, not complete)
        ]  # fmt: skip
        tries = self._tries.pop(moment, 0) + 1
        if behind and tries <= _TRIES:
            self._tries[moment] = tries
            return True
        self.given_up += bool(behind)
        del self._closed[moment]
        return False

    async def _changed(self, cache: Redis, name: str, keys: list[str]) -> list[bytes] | None:
        """The values of keys, those that are there; None where none has changed since the last call."""
        found: Any = await cache.mget(keys)
        if found == self._before.get(name.encode()):
            return None
        self._before[name.encode()] = found
        return [text for text in found if text is not None] or None

    async def _sum_open(self, cache: Redis, pool: Who, interval: str) -> None:
        name = key(footprint.NAME, *pool, interval)
        texts = await self._changed(cache, name, [key(footprint.NAME, *m, interval) for m in self._pools.members(pool)])
        if texts is None:
            return
        found = [candles.decode(text) for text in texts]
        at = max(one.timestamp for one in found)
        present = [one for one in found if one.timestamp == at]
        absent = [f"{one.exchange}:{one.symbol}" for one in found if one.timestamp != at]
        newest = max(one.as_of for one in present)
        absent += [f"{one.exchange}:{one.symbol}" for one in present if newest - one.as_of > _STALE]
        told = {"members": [f"{one.exchange}:{one.symbol}" for one in present], "stale": sorted(absent)}
        carried = sum(_carried(one, at) for one in found if one.timestamp != at)
        text = self._writer.candle(pool, present, carried + sum(lots(one.cvd) for one in present), told)
        self._put(Value(name.encode(), text, max(one.sequence for one in present)))

    async def _sum_cvd(self, cache: Redis, pool: Who) -> None:
        members = self._pools.members(pool)
        name = key(cvd.NAME, *pool)
        texts = await self._changed(cache, name, [key(cvd.NAME, *member) for member in members])
        if texts is None:
            return
        found = [_cvd(text) for text in texts]
        since, sequence = max(one.since for one in found), max(one.sequence for one in found)
        as_of = max(one.as_of for one in found)
        body: dict[str, Any] = {
            "exchange": pool[0], "symbol": pool[1],
            "session": size(sum(lots(one.session) for one in found if one.since == since)), "since": since,
            "total": size(sum(lots(one.total) for one in found)), "total_since": min(one.total_since for one in found),
            "members": [":".join(member) for member in members], "sequence": sequence, "as_of": as_of,
        }  # fmt: skip
        self._put(Value(name.encode(), msgspec.json.encode(body), sequence))

    async def _sum_profile(self, cache: Redis, pool: Who, range_name: str) -> None:
        members = self._pools.members(pool)
        name = key(profile.NAME, *pool, range_name)
        texts = await self._changed(cache, name, [key(profile.NAME, *member, range_name) for member in members])
        found = [one for one in map(_profile, texts or ()) if one.prices]
        if not found:
            return
        # Of a session those that have reached it; rolling ranges differ by what each exchange told last.
        begin = max(one.from_ for one in found)
        present = found if range_name.startswith("rolling") else [one for one in found if one.from_ == begin]
        told = {"members": [":".join(member) for member in members]}
        text = self._writer.profile(pool, range_name, present, told)
        self._put(Value(name.encode(), text, max(one.sequence for one in present)))

    def counters(self) -> dict[str, int]:
        return {"closed_waiting": len(self._closed), "given_up": self.given_up}


def _carried(last: FootprintCandle | None, at: int) -> int:
    """The cvd an exchange without a candle keeps: that of its last one of the same day."""
    if last is None or last.timestamp // time.DAY != at // time.DAY:
        return 0
    return lots(last.cvd)


SERIES = SumsOverExchanges
