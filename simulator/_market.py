"""The market all simulated exchanges share: coins, their price paths, and the tapes of what trades where."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from schemas import symbols as names
from simulator._bounded import Bounded
from simulator._noise import Floats, key, scatter_one, wander

MINUTES_A_DAY = 1_440
_KNOWN = (
    ("BTC", 92_000.0), ("ETH", 3_050.0), ("SOL", 142.0), ("XRP", 2.1), ("DOGE", 0.152), ("BNB", 910.0),
    ("ADA", 0.47), ("LINK", 13.6), ("AVAX", 14.8), ("SUI", 1.62), ("LTC", 88.0), ("DOT", 2.6), ("TRX", 0.28),
    ("BCH", 480.0), ("NEAR", 2.1), ("UNI", 7.2), ("AAVE", 170.0), ("APT", 2.8), ("ARB", 0.23), ("OP", 0.34),
    ("FIL", 1.9), ("ATOM", 2.7), ("ETC", 15.1), ("INJ", 6.1), ("PEPE", 0.0000047), ("SHIB", 0.0000086),
    ("HBAR", 0.145), ("XLM", 0.24), ("ICP", 4.4), ("TON", 1.65),
)  # fmt: skip
_SYLLABLES = ("BA", "DU", "FE", "GO", "KI", "LO", "MA", "NE", "PO", "RI", "SU", "TA", "VE", "WO", "XI", "ZU")


@dataclass(frozen=True)
class Coin:
    """``price`` in dollars around which it moves; ``share`` of an exchange's trades, all coins summing to 1."""

    name: str
    price: float
    share: float


@dataclass(frozen=True)
class Listing:
    """An instrument as one exchange lists it.

    Prices are whole ticks of ``tick`` units of 10^-``price_decimals``, quantities likewise whole steps. Quantities
    of an ``inverse`` contract are quote units, of all others base units.
    """

    exchange: str
    symbol: str
    coin: Coin
    quote: str
    settle: str
    price_decimals: int
    quantity_decimals: int
    tick: int = 1
    step: int = 1
    perpetual: bool = False
    inverse: bool = False
    funding_hours: int = 0
    """0: as its coin has it elsewhere."""

    @property
    def canonical(self) -> str:
        """``BTC-USDT`` or ``BTC-USDT-PERP``."""
        if self.perpetual:
            return names.derivative(self.coin.name, self.quote, self.settle)
        return names.spot(self.coin.name, self.quote)

    @property
    def tick_size(self) -> float:
        """Quote units of one tick."""
        return float(self.tick / 10**self.price_decimals)

    @property
    def step_size(self) -> float:
        """Base units (inverse: quote units) of one quantity step."""
        return float(self.step / 10**self.quantity_decimals)

    @property
    def step_dollars(self) -> float:
        """What one quantity step costs, about."""
        return self.step_size if self.inverse else self.coin.price * self.step_size

    @property
    def value_decimals(self) -> int:
        """Decimals that hold any sum of price times quantity exactly."""
        return self.price_decimals + self.quantity_decimals


@dataclass(frozen=True)
class Market:
    """``rate`` is the trades a second of each exchange, over all its symbols (at least one a minute each)."""

    seed: int
    symbols: int
    rate: float
    _paths: Bounded[tuple[str, int], Floats] = field(default_factory=lambda: Bounded(1_024), repr=False, compare=False)

    @cached_property
    def coins(self) -> tuple[Coin, ...]:
        """``symbols`` coins, the most traded first; well-known ones, then made-up ones."""
        weights = [1.0 / (rank + 2) for rank in range(self.symbols)]
        whole = sum(weights)
        priced = [*_KNOWN, *(_made_up(number) for number in range(max(0, self.symbols - len(_KNOWN))))]
        return tuple(Coin(name, price, weight / whole) for (name, price), weight in zip(priced, weights, strict=False))

    def path(self, coin: Coin, day: int) -> Floats:
        """Dollar prices at the 1,441 minute boundaries of a day (days since the epoch)."""
        known = self._paths.get((coin.name, day))
        if known is None:
            first, count = day * MINUTES_A_DAY, MINUTES_A_DAY + 1
            own = wander(key(self.seed, "coin", coin.name), first, count, 0.0005)
            shared = wander(key(self.seed, "market"), first, count, 0.0003)
            known = self._paths.put((coin.name, day), coin.price * np.exp(own + shared))
        return known

    def price(self, coin: Coin, timestamp_ms: int) -> float:
        """The coin's dollar price at any moment, straight between the minutes."""
        minute, rest = divmod(timestamp_ms, 60_000)
        day, of_day = divmod(minute, MINUTES_A_DAY)
        path = self.path(coin, day)
        left, right = float(path[of_day]), float(path[of_day + 1])
        return left + (right - left) * rest / 60_000


def _made_up(number: int) -> tuple[str, float]:
    """A pronounceable name, distinct for each number, and a price from a tenth of a cent to a hundred dollars."""
    rest, place = divmod(number, 4_096)
    place = place * 2_731 % 4_096  # odd, so no two numbers share a place
    name = "".join(_SYLLABLES[place >> shift & 15] for shift in (0, 4, 8)) + (str(rest) if rest else "")
    spread = scatter_one(key("made up"), number) / 2**64
    return name, float(f"{math.exp(math.log(0.001) + spread * math.log(1e5)):.3g}")
