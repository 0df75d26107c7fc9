"""Closed candles and the engine's state in one SQLite file; what a snapshot stores is stored whole or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from schemas import time
from signals._candle import Candle, CandleDamaged, unpack

_log = structlog.get_logger()
_VERSION = 2
MINUTES_KEPT = 26 * time.HOUR
"""One-minute candles are kept at least so long before their newest, for profiles that roll over a day."""
_TABLES = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS candle (
    series INTEGER NOT NULL, timestamp INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (series, timestamp)
) STRICT;
CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY CHECK (id = 1), body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY, clocks BLOB NOT NULL, marks BLOB NOT NULL) STRICT;
"""
_DAMAGE = (sqlite3.DatabaseError, CandleDamaged, msgspec.DecodeError)


class Archive:
    """One file; ``path`` may be ``:memory:``. A damaged file is moved aside and begun anew."""

    def __init__(self, path: Path | str, kept: int, minutes_kept: int = MINUTES_KEPT) -> None:
        self._path = path
        self._kept = kept
        self._minutes_kept = minutes_kept
        self._ids: dict[str, int] = {}
        self.moved_aside = False
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self.start_over(str(error))

    def _open(self) -> None:
        if self._path != ":memory:":
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self._path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
            raise sqlite3.DatabaseError("written by another version")
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
        self._db.executescript(_TABLES)
        self._ids = {name: number for number, name in self._db.execute("SELECT id, name FROM series")}

    def start_over(self, reason: str) -> None:
        """Move the file aside and begin an empty one."""
        _log.error("archive_damaged", path=str(self._path), reason=reason)
        self.close()
        for ending in ("", "-wal", "-shm"):
            file = Path(f"{self._path}{ending}")
            if file.exists():
                file.replace(Path(f"{self._path}.damaged{ending}"))
        self.moved_aside = True
        self._open()

    def clear(self) -> None:
        """Forget everything."""
        self._db.executescript("DELETE FROM candle; DELETE FROM series; DELETE FROM state; DELETE FROM seen;")
        self._ids = {}

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, series: str, timestamp: int) -> Candle | None:
        """The candle of ``series`` that opened at ``timestamp``."""
        return self.between(series, timestamp, timestamp + 1).get(timestamp)

    def between(self, series: str, begin: int, end: int) -> dict[int, Candle]:
        """Candles that opened in [begin, end)."""
        return self._read(
            "SELECT timestamp, body FROM candle WHERE series = ? AND timestamp >= ? AND timestamp < ?",
            series, begin, end,
        )  # fmt: skip

    def before(self, series: str, timestamp: int) -> Candle | None:
        """The last candle that opened before ``timestamp``."""
        found = self._read(
            "SELECT timestamp, body FROM candle WHERE series = ? AND timestamp < ? ORDER BY timestamp DESC LIMIT 1",
            series, timestamp,
        )  # fmt: skip
        return next(iter(found.values()), None)

    def latest(self, series: str, count: int) -> dict[int, Candle]:
        """The newest ``count`` candles."""
        return self._read(
            "SELECT timestamp, body FROM candle WHERE series = ? ORDER BY timestamp DESC LIMIT ?", series, count
        )

    def oldest(self, series: str) -> dict[int, Candle]:
        """The oldest candle."""
        return self._read("SELECT timestamp, body FROM candle WHERE series = ? ORDER BY timestamp LIMIT 1", series)

    def _read(self, statement: str, series: str, *values: int) -> dict[int, Candle]:
        number = self._ids.get(series)
        if number is None:
            return {}
        return {at: unpack(body) for at, body in self._db.execute(statement, (number, *values))}

    def store(self, candles: Iterable[tuple[str, Candle]], state: bytes, clocks: bytes, marks: bytes) -> None:
        """One transaction: candles, the engine's state, and the trades seen since the last one."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            touched = set()
            for series, candle in candles:
                number = self._id(series)
                touched.add((number, series.endswith(":1m")))
                self._db.execute("REPLACE INTO candle VALUES (?, ?, ?)", (number, candle.timestamp, candle.pack()))
            for number, minutes in touched:
                self._prune(number, minutes)
            self._db.execute("REPLACE INTO state VALUES (1, ?)", (state,))
            self._db.execute("INSERT INTO seen (clocks, marks) VALUES (?, ?)", (clocks, marks))
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            self._ids = {name: number for number, name in self._db.execute("SELECT id, name FROM series")}
            raise

    def _id(self, series: str) -> int:
        number = self._ids.get(series)
        if number is None:
            self._db.execute("INSERT INTO series (name) VALUES (?)", (series,))
            number = self._db.execute("SELECT id FROM series WHERE name = ?", (series,)).fetchone()[0]
            self._ids[series] = number
        return number

    def _prune(self, number: int, minutes: bool) -> None:
        """Keep the newest of a series, and of minutes a day more."""
        bound = "(SELECT timestamp FROM candle WHERE series = ?1 ORDER BY timestamp DESC LIMIT 1 OFFSET ?2)"
        if minutes:
            bound = f"min({bound}, (SELECT max(timestamp) - {self._minutes_kept} FROM candle WHERE series = ?1))"
        self._db.execute(f"DELETE FROM candle WHERE series = ?1 AND timestamp < {bound}", (number, self._kept - 1))

    def state(self) -> bytes | None:
        """The engine's state of the last snapshot."""
        row = self._db.execute("SELECT body FROM state").fetchone()
        return row[0] if row else None

    def seen(self) -> list[tuple[int, bytes, bytes]]:
        """(id, clocks, marks) of each snapshot still kept, oldest first."""
        return list(self._db.execute("SELECT id, clocks, marks FROM seen ORDER BY id"))

    def forget_seen(self, numbers: Iterable[int]) -> None:
        """Drop marks that no late trade can meet any more."""
        self._db.executemany("DELETE FROM seen WHERE id = ?", ((number,) for number in numbers))
