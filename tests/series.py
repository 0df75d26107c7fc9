"""Streams of events for the signals that are not made of trades, and a signal fed with them without servers."""

from __future__ import annotations

import random

from schemas import candles
from schemas.candles import FootprintCandle, Unfinished
from schemas.events import Funding, Kline, Liquidation, OpenInterest
from schemas.settings import Settings, load
from signals._redis import Value

T0 = 1_795_000_000_000_000 // 86_400_000_000 * 86_400_000_000
MINUTE, HOUR = 60_000_000, 3_600_000_000
PERPETUALS = (("one", "BTC-USDT-PERP"), ("two", "BTC-USD-BTC-PERP"), ("sim_one", "BTC-USDT-PERP"))


def settings(text: str = "") -> Settings:
    """The defaults and what ``text`` changes."""
    return load(text, {}, source="test")


def liquidation(at, side="long", price=100.0, value=1_000.0, who=PERPETUALS[0], number=None, coverage="all"):
    number = number or f"{at}-{side}-{price}"
    return Liquidation(*who, at, at + 5, number, side, price, value / price, value, coverage)


def interest(at, amount, who=PERPETUALS[0], received=None):
    return OpenInterest(*who, at, received or at + 5, amount)


def funding(at, rate, following, who=PERPETUALS[0], hours=8.0):
    return Funding(*who, at, at + 5, rate, hours, following, 100.0, 100.1)


def kline(at, close, interval="1m", who=("one", "BTC-USDT"), revision=0, received=None, **other):
    prices = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 5.0, **other}
    return Kline(
        *who, at, received or at + 5, interval, **prices, value=500.0, trades=3, source="ws", revision=revision
    )


def footprint(
    at, close, buys, sells, *, low=None, row=1.0, interval="1m", who=PERPETUALS[0], revision=0, sequence=1, **other
):
    """A closed candle whose rows begin at ``low``."""
    low = close if low is None else low
    buy, sell = sum(buys), sum(sells)
    fields = {
        "complete": True, "tick": row, "row": row, "open": close, "high": low + row * (len(buys) - 1), "low": low,
        "close": close, "buy": buy, "sell": sell, "delta": buy - sell, "min_delta": 0.0, "max_delta": 0.0, "cvd": 0.0,
        "trades": 2, "poc": low, "vah": low, "val": low, "closed": True, "as_of": at + MINUTE,
    }  # fmt: skip
    return FootprintCandle(
        *who, interval, at, revision, prices=[low + row * n for n in range(len(buys))], buys=list(buys),
        sells=list(sells), imbalances=[], stacks=[], unfinished=Unfinished(False, False), sequence=sequence,
        **(fields | other),
    )  # fmt: skip


def encoded(event) -> bytes:
    return candles.encode(event)


def shuffled(rng: random.Random, items: list) -> list:
    """The same items in another order, some of them twice."""
    made = [*items, *rng.sample(items, len(items) // 5)]
    rng.shuffle(made)
    return made


def keys(signal) -> dict[bytes, bytes]:
    """Every key as it is now; of sorted sets ``key@score``."""
    signal.everything()
    found = {}
    for who in sorted(signal.dirty):
        values, members = signal.render(who)
        found |= {value.key: value.text for value in values if isinstance(value, Value)}
        found |= {member.key + b"@%d" % member.score: member.text for member in members}
    signal.dirty.clear()
    return found
