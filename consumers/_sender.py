"""Rows to one QuestDB table over ILP/HTTP: all of a batch in one flush, a row it refuses found and named."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import msgspec
from questdb import QuestDBError, QuestDBErrorCode, Sender, TimestampMicros

from consumers._questdb import QuestdbUnreachable

REQUEST_TIMEOUT_S, BYTES_S_MIN = 10, 1_000_000
NAMED_MAX = 8
"""Refusals QuestDB names one by one before a batch is halved instead."""
_ANSWER = re.compile(r"\{.*\}", re.DOTALL)


class Refused(NamedTuple):
    """A row that will never be stored: its place in what was written, and why."""

    place: int
    reason: str


class Layout:
    """How a row struct becomes an ILP row: which fields are symbols, which times (µs), the rest as they are."""

    def __init__(self, row: type[msgspec.Struct], symbols: Sequence[str], times: Sequence[str]) -> None:
        fields = [name for name in row.__struct_fields__ if name != "timestamp"]
        self.symbols, self.times = tuple(symbols), tuple(times)
        self.plain = tuple(name for name in fields if name not in symbols and name not in times)
        self._symbols, self._plain = attrgetter(*self.symbols), attrgetter(*self.plain)

    def add(self, sender: Any, table: str, row: Any) -> None:
        """Append ``row`` to the sender's buffer. Raises ValueError, OverflowError, QuestDBError; then it is not in."""
        columns = dict(zip(self.plain, self._plain(row), strict=True))
        for name in self.times:
            value = getattr(row, name)
            columns[name] = None if value is None else TimestampMicros(value)
        sender.row(
            table,
            symbols=dict(zip(self.symbols, self._symbols(row), strict=True)),
            columns=columns,
            at=TimestampMicros(row.timestamp),
        )


class Writer:
    """Writes rows of one layout to one table. Not shared between threads; every call blocks."""

    def __init__(self, url: str, table: str, layout: Layout) -> None:
        self._conf, self._table, self._layout = _conf(url), table, layout
        self._sender: Any = None

    def write(self, rows: Sequence[Any]) -> list[Refused]:
        """Store ``rows``, in order; those QuestDB can never take are left out and returned.

        Raises QuestdbUnreachable where it cannot be known: write the same rows again.
        """
        refused: list[Refused] = []
        left = list(range(len(rows)))
        while left:
            sent, unfit = self._fill(rows, left)
            refused += unfit
            try:
                self._flush()
            except QuestDBError as error:
                problem, line = _problem(error)
                if len(refused) < NAMED_MAX and 0 < line <= len(sent) and self._alone(rows, sent[line - 1]):
                    refused.append(Refused(sent.pop(line - 1), problem))
                    left = sent
                    continue
                return refused + self._halves(rows, sent, problem)
            return refused
        return refused

    def _fill(self, rows: Sequence[Any], indexes: list[int]) -> tuple[list[int], list[Refused]]:
        sender = self._connected()
        sent, unfit = [], []
        for index in indexes:
            try:
                self._layout.add(sender, self._table, rows[index])
            except (ValueError, TypeError, OverflowError, QuestDBError) as error:
                unfit.append(Refused(index, f"cannot be a row: {error}"))
            else:
                sent.append(index)
        return sent, unfit

    def _flush(self) -> None:
        """Raises QuestDBError where the server named a fault of the rows, else QuestdbUnreachable."""
        try:
            self._sender.flush()  # an empty sender is falsy, so never ask `if self._sender`
        except QuestDBError as error:
            if error.code == QuestDBErrorCode.ServerFlushError and _problem(error)[0]:
                raise
            self.close()
            raise QuestdbUnreachable(str(error)) from error

    def _alone(self, rows: Sequence[Any], index: int) -> bool:
        """Whether the row is refused by itself: a line number may be off where strings hold line ends."""
        self._fill(rows, [index])
        try:
            self._flush()
        except QuestDBError:
            return True
        return False

    def _halves(self, rows: Sequence[Any], indexes: list[int], problem: str) -> list[Refused]:
        """Store what can be, by halving. Refused by all alike is the server's trouble, not the rows': hold them."""
        refused: list[Refused] = []
        stored = 0
        parts = [indexes[len(indexes) // 2 :], indexes[: len(indexes) // 2]] if len(indexes) > 1 else [indexes]
        while parts:
            part = parts.pop()
            sent, _ = self._fill(rows, part)
            try:
                self._flush()
                stored += len(sent)
            except QuestDBError as error:
                if len(part) == 1:
                    refused.append(Refused(part[0], _problem(error)[0]))
                else:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
        if not stored and not all(_is_invalid(item.reason) for item in refused):
            raise QuestdbUnreachable(problem)
        return refused

    def _connected(self) -> Any:
        if self._sender is None:
            self._sender = Sender.from_conf(self._conf)
            self._sender.establish()
        return self._sender

    def close(self) -> None:
        """Let the connection go; the next write makes a new one."""
        if self._sender is not None:
            self._sender.close(flush=False)
            self._sender = None


def _conf(url: str) -> str:
    """The client's configuration string for ``http[s]://[user:password@]host:port``."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 9000)
    conf = f"{parts.scheme}::addr={parts.hostname}:{port};"
    if parts.username:
        name, password = (unquote(text or "").replace(";", ";;") for text in (parts.username, parts.password))
        conf += f"username={name};password={password};"
    # the protocol version is given so that nothing is asked of a server that may be away; retries are ours
    patience = f"request_timeout={REQUEST_TIMEOUT_S * 1000};request_min_throughput={BYTES_S_MIN};"
    return conf + f"auto_flush=off;retry_timeout=0;{patience}protocol_version=2;"


def _problem(error: QuestDBError) -> tuple[str, int]:
    """What the server found wrong with the rows and in which line (from 1), or ``("", 0)``: not the rows' fault."""
    match = _ANSWER.search(str(error))
    try:
        answer = json.loads(match[0]) if match else {}
    except ValueError:
        return "", 0
    if not isinstance(answer, dict) or ("line" not in answer and answer.get("code") != "invalid"):
        return "", 0
    message = str(answer.get("message", "")).replace("\n", " ")
    if "creating new" in message or "No space" in message:  # a table or column yet to be migrated; a full disk
        return "", 0
    return f"{answer.get('code', '')}: {message}", int(answer.get("line") or 0)


def _is_invalid(reason: str) -> bool:
    return reason.startswith("invalid: ")
