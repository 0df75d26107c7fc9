"""Liquidation cascades: many positions of one side closed within seconds. One message for each, when it begins."""

from __future__ import annotations

import math

from schemas.detections import Detection, encode
from schemas.events import Liquidation
from schemas.names import detection_message_id, signal_subject
from schemas.settings import CascadeSettings
from signals._publish import Letter

NAME = "cascade"


class Cascades:
    """Begins when orders of one side within ``window`` reach count and value; ends when none comes for as long."""

    def __init__(self, settings: CascadeSettings) -> None:
        self._settings = settings
        self.window: int = settings.window
        self._until: dict[tuple[str, str, str], int] = {}

    def step(self, event: Liquidation, recent: list[Liquidation], sequence: int) -> list[Letter]:
        """``event`` came, in the order of the log; ``recent`` are the orders held since a window before it."""
        who = event.exchange, event.symbol, event.side
        begin = event.timestamp - self.window
        inside = [one for one in recent if one.side == event.side and begin < one.timestamp <= event.timestamp]
        if event.timestamp <= self._until.get(who, 0):
            self._until[who] = max(self._until[who], event.timestamp + self.window)
            return []
        value = math.fsum(one.value for one in inside)
        if len(inside) < self._settings.count or value < self._settings.value:
            return []
        self._until[who] = event.timestamp + self.window
        prices = [one.price for one in inside]
        told = Detection(
            signal=NAME, exchange=event.exchange, symbol=event.symbol, interval="", timestamp=event.timestamp,
            # A long that is closed by force is sold.
            side="sell" if event.side == "long" else "buy", event="seen", price=event.price, low=min(prices),
            high=max(prices), size=math.fsum(one.quantity for one in inside), value=value, count=len(inside),
            begin=inside[0].timestamp, sequence=sequence, as_of=event.timestamp,
        )  # fmt: skip
        subject = signal_subject(NAME, event.exchange, event.symbol)
        number = detection_message_id(
            NAME, event.exchange, event.symbol, "", event.timestamp, told.event, told.side, event.price
        )
        return [Letter(subject, encode(told), number)]
