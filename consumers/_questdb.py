"""Queries and statements for QuestDB over its Postgres port, and the SQL files they come from."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

SQL = Path(__file__).resolve().parent.parent / "sql"
USER, PASSWORD = "admin", "quest"
"""What QuestDB itself ships with; a URL that names others wins."""
CONNECT_TIMEOUT_S, QUERY_TIMEOUT_S = 5.0, 30.0


class QuestdbUnreachable(ConnectionError):
    """QuestDB is away, starting, or broke the connection: try again later."""


class QuestdbRefused(ValueError):
    """QuestDB answered, and the answer is no. ``statement`` is what it was asked."""

    def __init__(self, statement: str, reason: str) -> None:
        super().__init__(f"{reason}: {' '.join(statement.split())[:200]}")
        self.statement, self.reason = statement, reason


def statements(path: Path) -> list[str]:
    """The statements of a ``.sql`` file in order. A comment line begins with ``--``; ``;`` ends a statement."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";") if part.strip()]


@cache
def _text(name: str) -> str:
    (text,) = statements(SQL / "statements" / f"{name}.sql")
    return text


def statement(name: str, **words: str | int) -> str:
    """``sql/statements/<name>.sql`` with its ``{words}`` filled in: our own table names and numbers, nothing else."""
    for word in words.values():
        if isinstance(word, str) and not word.replace("_", "").isalnum():
            raise ValueError(f"{word!r} is not a table name")
    return _text(name).format(**words) if words else _text(name)


class Questdb:
    """One connection, made when first needed and made again after it broke; calls queue up behind each other.

    ``url`` is ``postgresql://[user:password@]host:port/qdb``.
    """

    def __init__(self, url: str, timeout_s: float = QUERY_TIMEOUT_S) -> None:
        parts = urlsplit(url)
        self._timeout_s = timeout_s
        self._address = {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or 8812,
            "user": unquote(parts.username or USER),
            "password": unquote(parts.password or PASSWORD),
            "database": parts.path.strip("/") or "qdb",
        }
        self._connection: Any = None
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, or none for a statement. ``values`` are bound to ``$1``, ``$2``, ….

        Timestamps are best cast to ``long`` (µs) in the query. Raises QuestdbUnreachable, QuestdbRefused.
        """
        async with self._turn:
            try:
                connection = await self._connected()
                return [tuple(row) for row in await connection.fetch(sql, *values, timeout=self._timeout_s)]
            except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
                self._drop()
                raise QuestdbUnreachable(f"QuestDB is not answering: {error!r}") from error
            except asyncpg.PostgresError as error:
                raise QuestdbRefused(sql, str(error)) from error

    async def _connected(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            # QuestDB has no prepared statements to keep between queries when a table changes under them
            self._connection = await asyncpg.connect(**self._address, statement_cache_size=0, timeout=CONNECT_TIMEOUT_S)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Say goodbye to the server; a later ``fetch`` connects again."""
        async with self._turn:
            self._drop()


async def query(url: str, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of one query on a connection of its own. Raises QuestdbUnreachable, QuestdbRefused."""
    questdb = Questdb(url)
    try:
        return await questdb.fetch(sql, *values)
    finally:
        await questdb.close()
