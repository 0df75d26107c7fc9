"""Brings marked minutes up to the table, once the table holds the trades that marked them."""

from __future__ import annotations

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError

from schemas import time
from schemas.names import WORD, table_durable
from signals._anew import Anew
from signals._core import Core
from signals._jetstream import StreamAnswer, request
from signals._tables import Tables, TablesAway

_log = structlog.get_logger()
AT_ONCE = 20
"""Minutes computed anew in one step, so that live candles never wait long."""


class CatchUp:
    """One step at a time; what cannot be done yet stays marked."""

    def __init__(self, core: Core, tables: Tables, nats: Client) -> None:
        self._core, self._tables, self._nats = core, tables, nats
        self._anew = Anew(core)
        self.recomputed = 0
        """Trades brought in from the table."""

    async def step(self) -> None:
        """Compute a few marked minutes anew."""
        marks = self._core.engine.late.marks
        if not marks:
            return
        try:
            written = await self._written()
            ready = [place for place, mark in marks.items() if mark.sequence <= written][:AT_ONCE]
            for slot, minute in ready:
                exchange, symbol = self._core.state.symbols[slot]
                trades = await self._tables.trades(exchange, symbol, minute, minute + time.MINUTE)
                if len(trades.timestamp):
                    self.recomputed += self._anew.apply(slot, minute, trades, marks[slot, minute])
                del marks[slot, minute]
        except (TablesAway, NatsError, StreamAnswer, OSError, TimeoutError) as error:
            _log.info("catch_up_waits", marks=len(marks), reason=str(error) or type(error).__name__)

    async def _written(self) -> int:
        """The stream sequence up to which the table ``trades`` holds everything, and queries see it; else -1."""
        trades = WORD["trade"]
        consumer = table_durable(trades.channel)
        info = await request(self._nats, f"CONSUMER.INFO.{trades.stream}.{consumer}")
        if (await self._tables.fetch("unapplied", trades.channel))[0][0]:
            return -1
        return int(info["ack_floor"]["stream_seq"])
