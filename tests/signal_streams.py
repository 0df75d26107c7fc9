"""Random trade streams as messages, an engine to feed them to, and the same for the oracle."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from redis.asyncio import Redis

from schemas import events
from schemas.instruments import Instrument
from schemas.names import event_subject, payload
from schemas.settings import SignalsSettings
from signals._archive import Archive
from signals._board import SIGNALS, Board
from signals._core import Core
from signals._decode import Message
from signals._grid import Grids
from signals._layout import DAY
from signals._partition import WHOLE, Part
from signals._redis import Watermark, Writer
from signals._state import Spans
from tests import oracle

MIDNIGHT = 20_000 * DAY
TICK, STEP = 0.01, 0.001
SYMBOLS = (("one", "A-B"), ("one", "C-D"), ("two", "A-B"))


def instrument(exchange: str, symbol: str) -> Instrument:
    """One with a tick of a hundredth and a step of a thousandth."""
    base, quote = symbol.split("-")
    return Instrument(
        exchange, symbol, base + quote, base, quote, quote, "spot", tick_size=TICK, quantity_step=STEP, valid_from=1
    )


def stream(seed: int, count: int, *, start: int = MIDNIGHT - 200_000_000, wild: bool = True) -> list[events.Event]:
    """Trades and clock events of two exchanges: bursts, pauses, late ones, duplicates, jumps, prices off the grid."""
    rng = random.Random(seed)
    now = {"one": start, "two": start + rng.randrange(3_600_000_000)}
    price = {who: rng.choice([1.0, 97.31, 60_000.0]) for who in SYMBOLS}
    made: list[events.Event] = []
    for n in range(count):
        exchange, symbol = who = rng.choice(SYMBOLS)
        pause = [0, 1_000, 300_000, 2_000_000] + ([12_000_000, 70_000_000, 4_000_000_000] if wild else [])
        weights = [4, 30, 30, 10] + ([3, 2, 1] if wild else [])
        now[exchange] += rng.choices(pause, weights)[0]
        if rng.random() < 0.05:
            made.append(events.Clock(exchange, now[exchange], now[exchange]))
            continue
        if made and rng.random() < 0.05:
            made.append(rng.choice(made[-50:]))
            continue
        late = rng.choices([0, 900_000, 15_000_000, 130_000_000, 900_000_000], [60, 8, 4, 2, 1])[0] if wild else 0
        factor = rng.choices(
            [1.0, 1.00003, 0.99997, 1.004, 0.5, 2.5], [30, 40, 40, 4, 1, 1] if wild else [1, 9, 9, 0, 0, 0]
        )
        price[who] = min(max(price[who] * factor[0], 0.5), 1e6)
        at = round(price[who], 2 if rng.random() < 0.98 else 4)
        quantity = round(rng.expovariate(1.0) + 0.001, 3)
        trade_id = str(n + 1) if symbol != "C-D" else f"id-{n}"
        timestamp = now[exchange] - late
        made.append(
            events.Trade(
                exchange, symbol, timestamp, timestamp, trade_id, at, quantity, at * quantity, rng.random() < 0.5
            )
        )
    return made


def messages(made: list[events.Event], seed: int = 0, together: float = 0.3) -> list[Message]:
    """One event a message, or several of one subject that follow each other."""
    rng = random.Random(seed)
    groups: list[list[events.Event]] = []
    for event in made:
        if groups and event_subject(groups[-1][0]) == event_subject(event) and rng.random() < together:
            groups[-1].append(event)
        else:
            groups.append([event])
    return [Message(event_subject(group[0]), payload(group), n + 1) for n, group in enumerate(groups)]


class Machine:
    """An engine over an archive, and what it would write to Redis."""

    def __init__(self, path: Path | str = ":memory:", *, know: bool = True, part: Part = WHOLE, **config) -> None:
        self.config = SignalsSettings(**config)
        self.archive = Archive(path, self.config.closed)
        self.pins: list[Instrument] = []
        grids = Grids(self.config.row, self.pins.append)
        if know:
            grids.learn([instrument(*who) for who in SYMBOLS])
        self.core = Core(self.config, Spans(self.config.intervals), grids, self.archive, part)
        self.board = Board(self.core, Writer(Redis(), "watermark:test", self.config.closed), SIGNALS)
        self.sequence = 0

    def feed(self, batch: list[Message]) -> None:
        """Apply messages as one batch."""
        if batch:
            self.core.fold(self.core.decode(batch))
            self.sequence = batch[-1].sequence

    def store(self) -> None:
        self.core.store(Watermark(self.sequence, "then"))

    def keys(self) -> dict[bytes, bytes | dict[int, bytes]]:
        """Every key, as it is after everything was written anew."""
        self.board.everything()
        found: dict = {}
        first = True
        while first or self.board.behind:
            values, emptied, members = self.board.gather(1e12, last=True)
            found |= {value.key: value.text for value in values}
            for name in emptied:
                found[name] = {}
            for member in members:
                found.setdefault(member.key, {})[member.score] = member.text
            first = False
        return found


def reference(batch: list[Message], machine: Machine) -> oracle.Oracle:
    """The oracle fed with the same messages, on the machine's grids."""
    spans = machine.core.state.spans
    truth = oracle.Oracle(spans.lengths, machine.config.late_horizon)
    for message in batch:
        for line in message.payload.splitlines():
            event = events.decode_any(line)
            if isinstance(event, events.Clock):
                truth.time(event.exchange, event.timestamp, message.sequence)
                continue
            exact = Fraction(Decimal(repr(event.price))) / Fraction(Decimal(repr(TICK)))
            tick = round(exact) if abs(exact - round(exact)) < Fraction(1, 10**6) else int(exact)
            lots = round(Fraction(Decimal(repr(event.quantity))) / Fraction(Decimal(repr(STEP))))
            trade = oracle.Trade(event.timestamp, event.trade_id, tick, lots, event.is_buyer_maker, message.sequence, 0)
            truth.trade(event.exchange, event.symbol, trade)
    return truth


def cvd_of(symbol: oracle.Symbol, start: int, end: int) -> int:
    """Signed lots since midnight of trades before ``end``."""
    return sum(t.signed for t in symbol.applied if t.timestamp // DAY == start // DAY and t.timestamp < end)
