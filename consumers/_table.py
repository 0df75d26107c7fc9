"""What a table file says: which events become which rows, what makes two of them the same, what is not fit to store."""

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from consumers._questdb import Questdb
from consumers._sender import Layout
from schemas import names

E = TypeVar("E", bound=msgspec.Struct)
TEXT_CHARACTERS_MAX, WORD_CHARACTERS_MAX = 1024, 64
"""Longest text, and longest text in a symbol column, whose values QuestDB keeps in memory."""
LONG_MAX = 2**63 - 1
"""The least LONG, one further down than ``-LONG_MAX``, means NULL."""
TIME_MAX = 253_402_300_799_999_999
"""The end of the year 9999, in µs: QuestDB takes no later timestamp."""
Array: TypeAlias = npt.NDArray[np.float64]
_TYPES = {str: "VARCHAR", int: "LONG", float: "DOUBLE", bool: "BOOLEAN", Array: "DOUBLE[][]"}


@dataclass(frozen=True)
class Table(Generic[E]):
    """A table and the events it is filled from. ``row`` is the struct whose fields are its columns."""

    name: str
    event: type[E]
    stream: str
    subjects: str
    keys: tuple[str, ...]
    """Upsert keys beside ``timestamp``."""
    symbols: tuple[str, ...]
    """Columns of type SYMBOL: few different values."""
    times: tuple[str, ...] = ("received",)
    """Columns of type TIMESTAMP beside ``timestamp``."""
    problem: Callable[[E], str] = lambda _: ""
    """Why an event may not be stored, or ``""``."""
    identity: Callable[[E], Hashable] | None = None
    """What makes two events the same; ``None`` where ``schemas.events.identity`` says it."""
    content: Callable[[E], Hashable] = lambda _: 0
    """What two copies of an event must agree on, else it is a conflict."""
    version: Callable[[E, int], tuple[int, ...]] | None = None
    """For events that are corrected: event, stream sequence → what an older one must not overwrite."""
    versions: str = ""
    """The statement that lists the newest corrected identities: identity columns, then the version's two."""
    row: type[msgspec.Struct] | None = None
    rows: Callable[[E], Iterable[msgspec.Struct]] | None = None
    """Event → rows, where a row is not the event itself."""
    replaced: Callable[[Questdb, list[E]], Awaitable[list[msgspec.Struct]]] | None = None
    """Rows that take away what an earlier version of the events left behind."""
    refilled: bool = False
    """Whether producers can bring again over REST what the log lost before the table had it."""
    flush_rows_max: int = 20_000
    dead_kind: str = field(default="")

    @property
    def durable(self) -> str:
        """The durable consumer's name: ``questdb-trades``."""
        return names.table_durable(self.name)

    @property
    def kind(self) -> str:
        """The word in the subject of a dead letter."""
        return self.dead_kind or next(word.kind for word in names.WORDS if word.channel == self.name)

    @property
    def row_type(self) -> type[msgspec.Struct]:
        """The struct whose fields are the columns."""
        return self.row or self.event

    @cached_property
    def layout(self) -> Layout:
        """How a row is sent."""
        return Layout(self.row_type, self.symbols, self.times)

    def columns(self) -> dict[str, str]:
        """Column → QuestDB type, as the struct and this declaration have it."""
        hints = typing.get_type_hints(self.row_type)
        return {name: self._column(name, hints[name]) for name in self.row_type.__struct_fields__}

    def _column(self, name: str, hint: Any) -> str:
        if name == "timestamp" or name in self.times:
            return "TIMESTAMP"
        if name in self.symbols:
            return "SYMBOL"
        if isinstance(hint, types.UnionType):
            (hint,) = (option for option in typing.get_args(hint) if option is not type(None))
        if typing.get_origin(hint) is Literal:
            hint = str
        return _TYPES[hint]


def no_text(*texts: str) -> bool:
    """Whether one of these may not be an id: empty, or too long for a text column."""
    return any(not 0 < len(text) <= TEXT_CHARACTERS_MAX for text in texts)


def too_long(*texts: str | None) -> bool:
    """Whether one of these is too long for a text column."""
    return any(text is not None and len(text) > TEXT_CHARACTERS_MAX for text in texts)


def no_word(*texts: str) -> bool:
    """Whether one of these may not be a symbol column's value: empty, long, or not plain."""
    return any(not 0 < len(text) <= WORD_CHARACTERS_MAX or not text.isprintable() for text in texts)


def is_time(*values: int | None) -> bool:
    """Whether these (µs) can be timestamps at all; ``None`` where there is none."""
    return all(value is None or 0 <= value <= TIME_MAX for value in values)


def is_long(*values: int | None) -> bool:
    """Whether these fit a LONG column; ``None`` where there is none."""
    return all(value is None or -LONG_MAX <= value <= LONG_MAX for value in values)
