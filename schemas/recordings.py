"""The format of recorded frames: one a line, as the exchange sent it, behind when it came in and over which socket.

    # {"what":"recording","exchange":"binance","began":1767225600000000,"options":{},"version":1}
    # {"what":"answer","at":1767225600000100,"about":"instruments","path":"/api/v3/exchangeInfo","body":"{…}"}
    # {"what":"socket","at":1767225600000200,"socket":1,"lane":1,"path":"/stream"}
    1767225600120000 1 {"stream":"btcusdt@trade","data":{…}}

A line that begins otherwise is a frame alone: a plain capture is read too. A line without its end was cut off.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

VERSION = 1
_FRAME = re.compile(rb"(\d{1,18}) (\d{1,9}) ")
_ENDS = bytes.maketrans(b"\r\n", b"  ")


class Frame(NamedTuple):
    """A message of an exchange. ``received`` (µs) is -1, and ``socket`` 0, in a plain capture."""

    received: int
    socket: int
    raw: bytes


class Recording(msgspec.Struct, tag_field="what", tag="recording", frozen=True):
    """The first line: whose frames, since when (µs), and in what shapes they were asked for."""

    exchange: str
    began: int
    options: dict[str, Any] = {}
    version: int = VERSION


class Socket(msgspec.Struct, tag_field="what", tag="socket", frozen=True):
    """A socket that opened: its path at the exchange; sockets of one ``lane`` follow each other."""

    at: int
    socket: int
    lane: int
    path: str


class Answer(msgspec.Struct, tag_field="what", tag="answer", frozen=True):
    """What the exchange answered over REST. ``about`` is ``instruments``, or the channel that needs it."""

    at: int
    about: str
    path: str
    body: str
    asked: str = ""
    """What was posted; empty: a GET."""
    symbol: str = ""
    """The exchange's spelling, where it was asked for one."""


Note = Recording | Socket | Answer
_decode = msgspec.json.Decoder(Note).decode


def frame_line(received: int, socket: int, raw: bytes) -> bytes:
    """A frame's line. Line ends inside a frame, which are white space of its JSON, become spaces."""
    if b"\n" in raw or b"\r" in raw:
        raw = raw.translate(_ENDS)
    return b"%d %d %b\n" % (received, socket, raw)


def note_line(note: Note) -> bytes:
    """Any other line."""
    return b"# " + msgspec.json.encode(note) + b"\n"


def parse(line: bytes) -> Frame | Note | None:
    """What a line says; None for an empty one. Raises ValueError."""
    text = line.strip()
    if not text:
        return None
    if text.startswith(b"# "):
        note: Note = _decode(text[2:])
        if isinstance(note, Recording) and note.version > VERSION:
            raise ValueError(f"a recording of version {note.version}; this reads up to {VERSION}")
        return note
    if found := _FRAME.match(text):
        return Frame(int(found[1]), int(found[2]), text[found.end() :])
    return Frame(-1, 0, text)


def is_cut(line: bytes) -> bool:
    """Whether a line has lost its end: the last one, where whoever wrote it was killed."""
    return not line.endswith(b"\n")
