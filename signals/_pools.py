"""Which symbols are summed as one: ``all:BTC-USD`` and ``all:BTC-USD-PERP``."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence
from functools import lru_cache

from schemas.symbols import ALL, SIMULATED

Who = tuple[str, str]
_DOLLAR, _PERPETUAL = "USD", "PERP"


class Pools:
    """Members of each sum. Simulated exchanges make a sum of their own, ``sim_all``: ``all`` means real ones."""

    def __init__(self, stable: Sequence[str]) -> None:
        self._stable = frozenset(stable)
        self._members: dict[Who, list[Who]] = {}
        self._pool = lru_cache(maxsize=10_000)(self._found)

    def pool(self, who: Who) -> Who | None:
        """The sum a symbol belongs to: spot or perpetual, quoted in something that counts as a dollar."""
        return self._pool(who)

    def _found(self, who: Who) -> Who | None:
        exchange, symbol = who
        parts = symbol.split("-")
        perpetual = parts[-1] == _PERPETUAL
        if len(parts) < 2 or parts[1] not in self._stable or (not perpetual and len(parts) != 2):
            return None
        prefix = SIMULATED if exchange.startswith(SIMULATED) else ""
        return prefix + ALL, f"{parts[0]}-{_DOLLAR}" + (f"-{_PERPETUAL}" if perpetual else "")

    def add(self, who: Who) -> Who | None:
        """Count a symbol in; returns its sum."""
        pool = self.pool(who)
        if pool is not None:
            members = self._members.setdefault(pool, [])
            if who not in members:
                insort(members, who)
        return pool

    def of(self, who: Who) -> tuple[Who, ...]:
        """The sum of a symbol that was counted in, if it has one."""
        pool = self.pool(who)
        return (pool,) if pool in self._members else ()

    def members(self, pool: tuple[str, ...]) -> Sequence[Who]:
        """Members of a sum, in order; empty for what is none."""
        return self._members.get((pool[0], pool[1]), ())

    def __iter__(self) -> Iterator[Who]:
        return iter(self._members)
