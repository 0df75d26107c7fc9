"""The instruments as the API knows them: read from the registry, found under any of their spellings."""

from __future__ import annotations

from collections.abc import Callable

from nats.aio.client import Client

from schemas.instruments import Instrument
from schemas.symbols import ALL, EXCHANGES, SIMULATED, SymbolError, from_ccxt, is_symbol
from signals._grid import Grids
from signals._registry import Registry
from web._errors import ApiError

EVERY_S, MISSED_EVERY_S = 60.0, 5.0


def check_exchange(exchange: str) -> None:
    """Raises ApiError 404 for an id no exchange has."""
    if exchange.removeprefix(SIMULATED) not in (*EXCHANGES, ALL):
        raise ApiError(404, "unknown_exchange", f"{exchange!r}: known are {', '.join(EXCHANGES)}")


class Instruments(Grids):
    """Newest version of each instrument, and whose spelling a symbol is."""

    def __init__(self, nats: Client, monotonic: Callable[[], float]) -> None:
        super().__init__("auto", lambda _version: None)
        self._registry = Registry(nats)
        self._monotonic = monotonic
        self._read_at = -EVERY_S
        self.newest: dict[tuple[str, str], Instrument] = {}
        self._own: dict[tuple[str, str], str] = {}

    def learn(self, versions: list[Instrument]) -> None:
        """Take in the registry: every version of every instrument, oldest first."""
        super().learn(versions)
        for version in versions:
            self.newest[version.exchange, version.symbol] = version
            self._own[version.exchange, version.exchange_symbol.upper()] = version.symbol

    async def refresh(self, after_s: float = EVERY_S) -> None:
        """Read the registry again if it was read longer ago; what cannot be read stays as it was."""
        if self._monotonic() - self._read_at >= after_s:
            self._read_at = self._monotonic()
            await self._registry.read(self)

    async def of(self, exchange: str, symbol: str) -> tuple[str, str]:
        """Exchange and symbol for a statement, '' for all. Raises ApiError."""
        if not exchange and not symbol:
            return "", ""
        if not exchange:
            raise ApiError(400, "invalid_parameter", "symbol: needs exchange")
        if not symbol:
            check_exchange(exchange)
            return exchange, ""
        return exchange, await self.canonical(exchange, symbol)

    async def canonical(self, exchange: str, symbol: str) -> str:
        """Our spelling of ``symbol``. Raises ApiError 404 where it can be none."""
        check_exchange(exchange)
        await self.refresh()
        found = self._find(exchange, symbol)
        if found is None and self.newest.keys().isdisjoint({(exchange, symbol)}):
            await self.refresh(MISSED_EVERY_S)
            found = self._find(exchange, symbol)
        if found is not None:
            return found
        if is_symbol(symbol.upper()) and "-" in symbol:  # not in the registry, which may be incomplete
            return symbol.upper()
        raise ApiError(404, "unknown_symbol", f"{exchange} has no {symbol!r}")

    def spelled(self, exchange: str, text: str) -> str | None:
        """The symbol that ``exchange`` itself spells ``text``, in any case."""
        return self._own.get((exchange, text.upper()))

    def _find(self, exchange: str, symbol: str) -> str | None:
        if (exchange, symbol.upper()) in self.newest:
            return symbol.upper()
        if own := self.spelled(exchange, symbol):
            return own
        if "/" in symbol:
            try:
                return from_ccxt(symbol)
            except SymbolError:
                return None
        return None
