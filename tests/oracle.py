"""The definitions of footprints once more, in plain Python and exact numbers, to hold the engine against.

Slow on purpose: a candle is the list of its trades, and everything is computed from that list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

DAY, GRACE = 86_400_000_000, 1_000_000
ROWS_MAX = 400


def value_area(volumes: list[int]) -> tuple[int, int, int] | None:
    """(control, low, high) row indices by the two-row rule, 70 %."""
    total = sum(volumes)
    if not total:
        return None
    middle = Fraction(len(volumes) - 1, 2)
    control = min(range(len(volumes)), key=lambda i: (-volumes[i], abs(i - middle), i))
    low = high = control
    inside = volumes[control]
    while inside * 100 < total * 70:
        above, below = volumes[high + 1 : high + 3], volumes[max(low - 2, 0) : low]
        if above and (not below or sum(above) >= sum(below)):
            high += len(above)
            inside += sum(above)
        else:
            low -= len(below)
            inside += sum(below)
    return control, low, high


def imbalances(buys: list[int], sells: list[int], percent: int = 300) -> list[tuple[int, str, Fraction]]:
    """(row, side, ratio), strictly above ``percent``; a partner of zero makes none."""
    found = []
    for i in range(len(buys)):
        if i and sells[i - 1] and buys[i] * 100 > sells[i - 1] * percent:
            found.append((i, "buy", Fraction(buys[i], sells[i - 1])))
        if i + 1 < len(buys) and buys[i + 1] and sells[i] * 100 > buys[i + 1] * percent:
            found.append((i, "sell", Fraction(sells[i], buys[i + 1])))
    return found


def stacks(found: list[tuple[int, str, Fraction]], least: int = 3) -> list[tuple[str, int, int, int]]:
    """(side, low row, high row, count) of consecutive imbalances, buyers first."""
    result = []
    for side in ("buy", "sell"):
        rows = [row for row, of, _ in found if of == side]
        while rows:
            run = [rows.pop(0)]
            while rows and rows[0] == run[-1] + 1:
                run.append(rows.pop(0))
            if len(run) >= least:
                result.append((side, run[0], run[-1], len(run)))
    return result


@dataclass(frozen=True)
class Trade:
    """A trade as applied: tick and lots are whole, ``at`` is its exchange's event time when it was applied."""

    timestamp: int
    trade_id: str
    tick: int
    lots: int
    is_sell: bool
    sequence: int
    at: int

    @property
    def signed(self) -> int:
        return -self.lots if self.is_sell else self.lots


def edge(trades: list[Trade], better) -> Trade:
    """First (or last) by time, then by numeric id; trades without one by arrival."""
    best = trades[0]
    for trade in trades[1:]:
        if better(trade, best):
            best = trade
    return best


def _opens_before(trade: Trade, best: Trade) -> bool:
    if trade.timestamp != best.timestamp:
        return trade.timestamp < best.timestamp
    return trade.trade_id.isdigit() and best.trade_id.isdigit() and int(trade.trade_id) < int(best.trade_id)


def _closes_after(trade: Trade, best: Trade) -> bool:
    if trade.timestamp != best.timestamp:
        return trade.timestamp > best.timestamp
    return not (trade.trade_id.isdigit() and best.trade_id.isdigit() and int(trade.trade_id) < int(best.trade_id))


def candle(trades: list[Trade], tick: Fraction, step: Fraction, row_ticks: int) -> dict:
    """The content of a candle, exact."""
    ticks = [trade.tick for trade in trades]
    wide = row_ticks
    while max(ticks) // wide - min(ticks) // wide + 1 > ROWS_MAX:
        wide *= 2
    first, last = min(ticks) // wide, max(ticks) // wide
    buys, sells = [0] * (last - first + 1), [0] * (last - first + 1)
    delta, low, high = 0, 0, 0
    for trade in trades:
        (sells if trade.is_sell else buys)[trade.tick // wide - first] += trade.lots
        delta += trade.signed
        low, high = min(low, delta), max(high, delta)
    area = value_area([b + s for b, s in zip(buys, sells, strict=True)])

    def price(row: int) -> Fraction:
        return (first + row) * wide * tick

    found = imbalances(buys, sells)
    return {
        "tick": tick,
        "row": wide * tick,
        "open": edge(trades, _opens_before).tick * tick,
        "high": max(ticks) * tick,
        "low": min(ticks) * tick,
        "close": edge(trades, _closes_after).tick * tick,
        "buy": sum(buys) * step,
        "sell": sum(sells) * step,
        "delta": delta * step,
        "min_delta": low * step,
        "max_delta": high * step,
        "trades": len(trades),
        "poc": area and price(area[0]),
        "vah": area and price(area[2]),
        "val": area and price(area[1]),
        "prices": [price(row) for row in range(len(buys))],
        "buys": [lots * step for lots in buys],
        "sells": [lots * step for lots in sells],
        "imbalances": [{"price": price(row), "side": side, "ratio": ratio} for row, side, ratio in found],
        "stacks": [
            {"side": side, "low": price(low), "high": price(high), "count": count}
            for side, low, high, count in stacks(found)
        ],
        "unfinished": {"high": bool(buys[-1] and sells[-1]), "low": bool(buys[0] and sells[0])},
    }


@dataclass
class Closed:
    """A closed candle: its trades in the order they were applied."""

    trades: list[Trade]
    revision: int
    sequence: int
    at: int


@dataclass
class Symbol:
    """Everything of one symbol."""

    live: dict[int, list[Trade]] = field(default_factory=dict)
    parts: dict[int, tuple[int, list[Trade]]] = field(default_factory=dict)
    closed: dict[int, dict[int, Closed]] = field(default_factory=dict)
    applied: list[Trade] = field(default_factory=list)
    touched: tuple[int, int] = (0, 0)


class Oracle:
    """The whole engine: closing by event time, late trades, revisions, CVD."""

    def __init__(self, lengths: list[int], horizon: int) -> None:
        self.lengths, self.horizon, self.base = lengths, horizon, lengths[0]
        self.clocks: dict[str, int] = {}
        self.symbols: dict[tuple[str, str], Symbol] = {}
        self.seen: set[tuple] = set()
        self.beyond: list[Trade] = []

    def time(self, exchange: str, timestamp: int, sequence: int) -> None:
        """An event of ``exchange`` bears this time."""
        if timestamp <= self.clocks.get(exchange, 0):
            return
        self.clocks[exchange] = timestamp
        for (name, _), symbol in self.symbols.items():
            if name == exchange:
                self._close(symbol, timestamp, sequence)

    def _close(self, symbol: Symbol, now: int, sequence: int) -> None:
        ends = sorted(
            {start + self.base for start in symbol.live}
            | {start + length for length, (start, _) in symbol.parts.items()}
        )
        due = [end for end in ends if end + GRACE <= now]
        # A base candle may complete a longer one that began with it.
        due = sorted(set(due) | {e - e % n + n for e in [d - 1 for d in due] for n in self.lengths})
        for end in due:
            if end + GRACE > now:
                continue
            if end - self.base in symbol.live:
                trades = symbol.live.pop(end - self.base)
                self._keep(symbol, self.base, end - self.base, trades, now, sequence)
                for length in self.lengths[1:]:
                    start = trades[0].timestamp - trades[0].timestamp % length
                    held = symbol.parts.setdefault(length, (start, []))
                    assert held[0] == start
                    held[1].extend(trades)
            for length in self.lengths[1:]:
                if length in symbol.parts and symbol.parts[length][0] + length == end:
                    start, trades = symbol.parts.pop(length)
                    self._keep(symbol, length, start, trades, now, sequence)

    def _keep(self, symbol: Symbol, length: int, start: int, trades: list[Trade], now: int, sequence: int) -> None:
        symbol.closed.setdefault(length, {})[start] = Closed(list(trades), 0, sequence, now)

    def trade(self, exchange: str, name: str, trade: Trade) -> None:
        """A trade; ``at`` is set here."""
        identity = (exchange, name, trade.trade_id, trade.timestamp)
        if identity in self.seen:
            return
        self.seen.add(identity)
        symbol = self.symbols.setdefault((exchange, name), Symbol())
        self.time(exchange, trade.timestamp, trade.sequence)
        now = self.clocks[exchange]
        trade = Trade(**{**trade.__dict__, "at": now})
        start = trade.timestamp - trade.timestamp % self.base
        if start + self.base + GRACE > now:
            symbol.live.setdefault(start, []).append(trade)
            symbol.applied.append(trade)
        elif trade.timestamp >= now - self.horizon:
            self._late(symbol, trade, now)
        else:
            self.beyond.append(trade)

    def _late(self, symbol: Symbol, trade: Trade, now: int) -> None:
        symbol.applied.append(trade)
        for length in self.lengths:
            start = trade.timestamp - trade.timestamp % length
            kept = symbol.closed.setdefault(length, {})
            if start + length + GRACE > now:
                symbol.parts.setdefault(length, (start, []))[1].append(trade)
            else:
                closed = kept.setdefault(start, Closed([], 0, 0, 0))
                closed.trades.append(trade)
                closed.revision += 1
            for other, closed in kept.items():
                if other + length > trade.timestamp and other // DAY == trade.timestamp // DAY:
                    closed.sequence, closed.at = max(closed.sequence, trade.sequence), max(closed.at, now)
        symbol.touched = max(symbol.touched[0], trade.sequence), max(symbol.touched[1], now)

    def open(self, symbol: Symbol, length: int) -> tuple[int, list[Trade]] | None:
        """The open candle: open time and trades."""
        held = symbol.parts.get(length)
        if symbol.live:
            newest = max(symbol.live)
            start = newest - newest % length
        elif held:
            start = held[0]
        else:
            return None
        trades = list(held[1]) if held and held[0] == start else []
        for base in sorted(symbol.live):
            if base - base % length == start:
                trades += symbol.live[base]
        return start, trades
