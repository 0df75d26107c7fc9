"""The engine without its surroundings: messages in, candles in memory and archive out. No I/O but the archive."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas import time
from schemas.events import Gap
from schemas.settings import SignalsSettings
from signals._archive import Archive
from signals._decode import Decoder, Message
from signals._engine import Engine
from signals._grid import Grids
from signals._layout import CLOCK, Columns
from signals._ledger import Ledger
from signals._options import options
from signals._partition import WHOLE, Part
from signals._redis import Watermark
from signals._rolling import Rolling, lengths
from signals._seen import Seen
from signals._since import Since
from signals._snapshot import dump, load
from signals._state import Spans, State
from signals._watch import Watch


class Core:
    """State, decoder, memory of trades and engine, wired together."""

    def __init__(
        self, config: SignalsSettings, spans: Spans, grids: Grids, archive: Archive, part: Part = WHOLE
    ) -> None:
        self._horizon = config.late_horizon
        self._archive = archive
        self.grids = grids
        self.options = options(config)
        self.state = State(spans)
        self.state.gaps.reach = config.closed * spans.lengths[-1]
        self.ledger = Ledger(self.state, archive, config.closed)
        self.watch = Watch(self.state, config)
        self.engine = Engine(self.state, grids, self.ledger, config.late_horizon, self.watch)
        self.part = part
        self.decoder = Decoder(self.state, part)
        self.rolling = Rolling(self.state, self.ledger, lengths(config.profile.rolling))
        self.since = Since(self.state, self.ledger, [time.parse(text) for text in config.anchors])
        self.ledger.minutes = [self.rolling, self.since]
        self._seen = Seen(config.late_horizon)
        self.duplicates = 0

    def decode(self, messages: Sequence[Message]) -> Columns:
        """Events of the messages; symbols seen for the first time get their slots."""
        return self.decoder.columns(messages)

    def fold(self, columns: Columns) -> None:
        """Apply events that were not applied before."""
        state = self.state
        fresh = self._seen.admit(
            columns.identity,
            columns.timestamp,
            columns.slot,
            columns.exchange,
            state.salt,
            state.clocks[:, CLOCK].copy(),
        )
        again = len(fresh) - int(fresh.sum())
        self.duplicates += again
        self.engine.apply(Columns._make(column[fresh] for column in columns) if again else columns)

    def learn(self, gap: Gap) -> None:
        """Take in a state of a gap in trades; candles it touches change where they must."""
        span = self.state.gaps.take(gap)
        slot = self.state.known(gap.exchange, gap.symbol)
        if span is not None and slot is not None:
            self.state.dirty[slot] = 1
            self.ledger.recheck(slot, *span)

    def store(self, watermark: Watermark) -> None:
        """Put everything up to ``watermark`` into the archive, whole or not at all."""
        times = dict(zip(self.state.exchanges, self.state.clocks[:, CLOCK].tolist(), strict=False))
        body = dump(self.state, self.engine.late, self.since, self.watch, watermark)
        self._archive.store(self.ledger.fresh(), body, msgspec.msgpack.encode(times), self._seen.news())
        self.ledger.archived()
        self._seen.stored()

    def recall(self) -> Watermark | None:
        """Fill an empty core from the archive; None where it holds nothing.

        Raises SnapshotUnusable, CandleDamaged, msgspec.DecodeError, ValueError.
        """
        body = self._archive.state()
        if body is None:
            return None
        watermark = load(body, self.state, self.engine.late, self.since, self.watch)
        now = self.state.clocks[:, CLOCK].copy()
        old = []
        for number, clocks, marks in self._archive.seen():
            then = msgspec.msgpack.decode(clocks)
            if all(then.get(name, 0) + self._horizon < now[x] for x, name in enumerate(self.state.exchanges)):
                old.append(number)
            else:
                self._seen.recall(marks, now)
        self._archive.forget_seen(old)
        self.ledger.recall()
        return watermark

    def counters(self) -> dict[str, int]:
        """What was applied, dropped and found odd, for health."""
        return {
            "symbols": len(self.state.symbols),
            "bad": self.decoder.bad,
            "duplicates": self.duplicates,
            "marks": len(self.engine.late.marks),
            "gaps": self.state.gaps.missing(),
            "gaps_joined": self.state.gaps.joined,
            **self.engine.counters(),
        }
