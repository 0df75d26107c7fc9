"""``sig.alert.<rule>.<exchange>.<symbol>``: rules of the configuration over signals and prices. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import msgspec

from schemas import time
from schemas.alerts import Alert
from schemas.events import Trade
from schemas.settings import AlertSettings
from schemas.symbols import is_exchange, is_symbol

PRICE = "price"
_ALIASES = {"divergence": "divergence_*"}
_SEEN_MAX = 20_000


class Seen(msgspec.Struct):
    """What rules look at, of anything on ``sig.>``: a detection, a footprint, a message of somebody's own."""

    exchange: str
    symbol: str
    timestamp: int
    interval: str = ""
    side: str = ""
    event: str = ""
    price: float | None = None
    close: float | None = None
    low: float = 0.0
    high: float = 0.0
    size: float = 0.0
    value: float = 0.0
    sequence: int = 0
    as_of: int = 0


decode_seen = msgspec.json.Decoder(Seen).decode


class _Rule(NamedTuple):
    settings: AlertSettings
    matches: Callable[[str, str, str], bool]
    """Signal, exchange, symbol."""


class Rules:
    """Evaluates every message and trade once, in the order of the log."""

    def __init__(self, rules: Sequence[AlertSettings]) -> None:
        self._rules = [_Rule(rule, _matcher(rule)) for rule in rules]
        self._last: dict[tuple[str, str, str], int] = {}
        self._price: dict[tuple[str, str], float] = {}
        self._told: dict[str, None] = {}
        self.fired = 0

    @property
    def wants_prices(self) -> bool:
        """Whether any rule is about prices."""
        return any(rule.settings.signal == PRICE for rule in self._rules)

    def on_signal(self, signal: str, seen: Seen) -> list[Alert]:
        """Alerts of one message of ``sig.<signal>.…``."""
        if not (is_exchange(seen.exchange) and is_symbol(seen.symbol)) or seen.timestamp < time.EARLIEST:
            return []
        found = []
        for rule, matches in self._rules:
            if rule.signal != PRICE and matches(signal, seen.exchange, seen.symbol) and _passes(rule, seen):
                found += self._fire(rule, signal, seen)
        return found

    def on_trades(self, trades: Iterable[Trade]) -> list[Alert]:
        """Alerts of a batch of trades: a level was crossed since the trade before."""
        found: list[Alert] = []
        for trade in trades:
            who = trade.exchange, trade.symbol
            before, self._price[who] = self._price.get(who), trade.price
            if before is None or before == trade.price:
                continue
            for rule, matches in self._rules:
                if rule.signal == PRICE and matches(PRICE, *who):
                    found += self._crossed(rule, trade, before)
        return found

    def _crossed(self, rule: AlertSettings, trade: Trade, before: float) -> list[Alert]:
        for level, side in ((rule.above, "buy"), (rule.below, "sell")):
            rose = level is not None and side == "buy" and before <= level < trade.price
            fell = level is not None and side == "sell" and before >= level > trade.price
            if rose or fell:
                assert level is not None
                seen = Seen(
                    trade.exchange, trade.symbol, trade.timestamp, side=side, event="seen", price=trade.price,
                    low=level, high=level, size=trade.quantity, value=trade.value, as_of=trade.timestamp,
                )  # fmt: skip
                return self._fire(rule, PRICE, seen)
        return []

    def _fire(self, rule: AlertSettings, signal: str, seen: Seen) -> list[Alert]:
        who = (rule.name, seen.exchange, seen.symbol)
        if rule.every and who in self._last and seen.timestamp < self._last[who] + rule.every:
            return []
        price = seen.price if seen.price is not None else seen.close or 0.0
        parts: tuple[Any, ...] = (
            "alert", rule.name, signal, seen.exchange, seen.symbol, seen.interval, seen.timestamp, seen.event,
            seen.side, repr(price),
        )  # fmt: skip
        number = ":".join(map(str, parts))
        if number in self._told:
            return []
        self._told[number] = None
        if len(self._told) > _SEEN_MAX:
            del self._told[next(iter(self._told))]
        self._last[who] = max(seen.timestamp, self._last.get(who, 0))
        self.fired += 1
        alert = Alert(
            id=number, rule=rule.name, signal=signal, exchange=seen.exchange, symbol=seen.symbol,
            interval=seen.interval, timestamp=seen.timestamp, side=seen.side, event=seen.event, price=price,
            low=seen.low, high=seen.high, size=seen.size, value=seen.value, text="", sequence=seen.sequence,
            as_of=seen.as_of or seen.timestamp,
        )  # fmt: skip
        return [msgspec.structs.replace(alert, text=told(alert))]


def _matcher(rule: AlertSettings) -> Callable[[str, str, str], bool]:
    patterns = _ALIASES.get(rule.signal, rule.signal), rule.exchange, rule.symbol

    def matches(*names: str) -> bool:
        return all(fnmatchcase(name, pattern) for name, pattern in zip(names, patterns, strict=True))

    return matches


def _passes(rule: AlertSettings, seen: Seen) -> bool:
    return (
        fnmatchcase(seen.interval, rule.interval)
        and rule.side in ("", seen.side)
        and rule.event in ("", seen.event)
        and seen.size >= rule.min_size
        and seen.value >= rule.min_value
    )


def told(alert: Alert) -> str:
    """``btc-stacks: stack buy closed, binance BTC-USDT 1m at 61200.5 (61200 to 61201), size 4.2, 2026-… UTC``."""
    what = " ".join(filter(None, (alert.signal, alert.side, alert.event if alert.event != "seen" else "")))
    where = " ".join(filter(None, (alert.exchange, alert.symbol, alert.interval)))
    span = f" ({alert.low!r} to {alert.high!r})" if alert.low != alert.high else ""
    size = f", size {alert.size!r}" if alert.size else ""
    return f"{alert.rule}: {what}, {where} at {alert.price!r}{span}{size}, {time.iso(alert.timestamp)[:19]} UTC"
