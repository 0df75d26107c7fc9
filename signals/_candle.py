"""A candle on its own: taken out of the rings, put back, and as bytes for the archive."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from signals._layout import COLUMNS, FIRST, LAST, START, Candles, Counts, Floats, Ints
from signals._merge import clear

_VERSION = b"\x02"


@dataclass(eq=False, slots=True)
class Candle:
    """A candle with its rows ascending: ``buy[i]`` belongs to bucket FIRST + i."""

    meta: Ints
    values: Floats
    buy: Ints
    sell: Ints
    buys: Counts
    sells: Counts

    @property
    def timestamp(self) -> int:
        """Open time in microseconds."""
        return int(self.meta[START])

    def pack(self) -> bytes:
        """Bytes for the archive; about 3 to 8 a row."""
        parts = (self.meta, self.values, self.buy, self.sell, self.buys, self.sells)
        return _VERSION + zlib.compress(b"".join(part.tobytes() for part in parts), 1)


class CandleDamaged(ValueError):
    """Bytes that are no packed candle."""


def unpack(data: bytes) -> Candle:
    """The candle ``pack`` made. Raises CandleDamaged."""
    try:
        raw = zlib.decompress(data[1:])
    except zlib.error as error:
        raise CandleDamaged(str(error)) from error
    head = COLUMNS * 8 + 16
    rows, rest = divmod(len(raw) - head, 24)
    if data[:1] != _VERSION or rest or rows < 0:
        raise CandleDamaged(f"{len(raw)} bytes")
    meta = np.frombuffer(raw, np.int64, COLUMNS).copy()
    values = np.frombuffer(raw, np.float64, 2, COLUMNS * 8).copy()
    lots = np.frombuffer(raw, np.int64, 2 * rows, head).copy()
    counts = np.frombuffer(raw, np.int32, 2 * rows, head + 16 * rows).copy()
    return Candle(meta, values, lots[:rows], lots[rows:], counts[:rows], counts[rows:])


def take(source: Candles, s: int) -> Candle:
    """A copy of candle ``s``."""
    meta = source.meta[s].copy()
    places = np.arange(meta[FIRST], meta[LAST] + 1) & (source.buy.shape[1] - 1)
    return Candle(
        meta, source.values[s].copy(), source.buy[s, places], source.sell[s, places],
        source.buys[s, places], source.sells[s, places],
    )  # fmt: skip


def put(target: Candles, t: int, candle: Candle) -> None:
    """Make candle ``t`` a copy of ``candle``."""
    clear(target, t)
    meta = candle.meta
    places = np.arange(meta[FIRST], meta[LAST] + 1) & (target.buy.shape[1] - 1)
    target.meta[t], target.values[t] = meta, candle.values
    target.buy[t, places], target.sell[t, places] = candle.buy, candle.sell
    target.buys[t, places], target.sells[t, places] = candle.buys, candle.sells
