"""Reads what the tables hold: trades to compute a minute anew, and closed candles older than the log."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import numpy as np

from signals._decode import numbers
from signals._layout import Columns

_SQL = Path(__file__).resolve().parent.parent / "sql" / "statements"
_USER, _PASSWORD = "admin", "quest"
_CONNECT_S, _QUERY_S = 5.0, 30.0


class TablesAway(ConnectionError):
    """QuestDB does not answer, or has no such table yet."""


@cache
def _text(name: str) -> str:
    lines = (_SQL / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--")).rstrip().removesuffix(";")


class Tables:
    """One connection, made when needed. ``url`` is ``postgresql://[user:password@]host:port/qdb``."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or 8812,
            "user": unquote(parts.username or _USER),
            "password": unquote(parts.password or _PASSWORD),
            "database": parts.path.strip("/") or "qdb",
        }
        self._connection: Any = None

    async def fetch(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of ``sql/statements/<name>.sql``. Raises TablesAway."""
        try:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(**self._address, statement_cache_size=0, timeout=_CONNECT_S)
            return [tuple(row) for row in await self._connection.fetch(_text(name), *values, timeout=_QUERY_S)]
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
            self.close()
            raise TablesAway(f"QuestDB: {error!r}") from error

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def trades(self, exchange: str, symbol: str, begin: int, end: int) -> Columns:
        """Trades in [begin, end) µs by (time, numeric id); exchange, slot and sequence are 0."""
        rows = await self.fetch("signal_trades", exchange, symbol, begin, end)
        orders, identities = numbers([row[1] for row in rows])
        stamps = np.array([row[0] for row in rows], np.int64)
        none = np.zeros(len(rows), np.int64)
        columns = Columns(
            none, none, stamps, orders, identities,
            np.array([row[2] for row in rows], np.float64), np.array([row[3] for row in rows], np.float64),
            np.array([row[4] for row in rows], np.float64), np.array([row[5] for row in rows], np.bool_), none.copy(),
        )  # fmt: skip
        order = np.lexsort((orders, stamps))
        return Columns._make(column[order] for column in columns)
