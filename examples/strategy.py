"""A strategy on stacked imbalances, and an account that fills its orders against the trades that pass.

The same code runs live in ``paper_bot.py`` and over the past in ``backtest.py``. It is an example of the plumbing, not
of a way to make money.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.candles import FootprintCandle
from schemas.events import Trade


@dataclass
class Fill:
    """A part of an order that was done: signed quantity (base units), price and fee (quote units)."""

    timestamp: int
    quantity: float
    price: float
    fee: float


@dataclass
class Account:
    """Position and money. An order is filled by the trades after it, never by more than they traded."""

    fee_rate: float = 0.0005
    position: float = 0.0
    cash: float = 0.0
    wanted: float = 0.0
    """The position that the orders sent so far lead to."""
    mark: float = 0.0
    fills: list[Fill] = field(default_factory=list)

    def on_trade(self, trade: Trade) -> Fill | None:
        """Fill what is open with one trade."""
        self.mark = trade.price
        left = self.wanted - self.position
        if abs(left) < 1e-12:
            return None
        quantity = min(abs(left), trade.quantity) * (1 if left > 0 else -1)
        fill = Fill(trade.timestamp, quantity, trade.price, abs(quantity) * trade.price * self.fee_rate)
        self.position += quantity
        self.cash -= quantity * trade.price + fill.fee
        self.fills.append(fill)
        return fill

    @property
    def profit(self) -> float:
        """Profit or loss in quote units at the last price, fees included."""
        return self.cash + self.position * self.mark


@dataclass
class StackedImbalances:
    """Goes with a stack of at least ``stack`` imbalanced rows, and leaves after ``hold`` candles without a new one."""

    account: Account
    size: float = 0.01
    stack: int = 3
    hold: int = 5
    _held: int = 0

    def on_candle(self, candle: FootprintCandle) -> None:
        """Decide at the close of a candle. Revisions of candles decided on, and candles with holes, change nothing."""
        if candle.revision or not candle.complete:
            return
        self._held += 1
        sides = {stack.side for stack in candle.stacks if stack.count >= self.stack}
        if len(sides) == 1:
            self.account.wanted = self.size if sides == {"buy"} else -self.size
            self._held = 0
        elif self._held >= self.hold:
            self.account.wanted = 0.0
