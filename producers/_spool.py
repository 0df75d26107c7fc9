"""Messages on disk while the log is away: bounded, in order, each with its length and checksum.

The spool is a row of segment files, written at the end and read from the front. A segment goes once every message
read from it was acknowledged, so a crash sends some twice (their ids make that harmless) and loses none.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from producers._lanes import Message

SEGMENT_BYTES = 16 << 20
RECORD_BYTES_MAX = 8 << 20
_FIRST = 500_000_000
"""Segments are numbered upwards from here, so that older messages can still be put in front."""
_HEAD = struct.Struct("<II")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, dict[str, str], bytes, int]).decode
log = structlog.get_logger()


class _Segment:
    """One file: ``size`` bytes written, ``offset`` read, ``pending`` messages read and not yet acknowledged."""

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.size = os.fstat(self.file).st_size
        self.offset = self.pending = 0


class Spool:
    """A bounded queue of messages in ``folder``, of which ``stem`` names the files."""

    def __init__(self, folder: Path, stem: str, bytes_max: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._stem, self._bytes_max = folder, stem, bytes_max
        self._segments: dict[int, _Segment] = {}
        self.damaged_bytes = 0
        for path in sorted(folder.glob(f"{stem}-*.spool")):
            number = path.stem.removeprefix(f"{stem}-")
            if number.isdigit():
                self._segments[int(number)] = _Segment(path, int(number))
        # A segment another run wrote may end in half a record: nothing is appended behind it.
        self._writing: _Segment | None = None

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return sum(segment.size for segment in self._segments.values())

    @property
    def unread(self) -> bool:
        """Whether something waits to be read."""
        return any(segment.offset < segment.size for segment in self._segments.values())

    def append(self, message: Message, *, force: bool = False) -> bool:
        """Put a message at the end; False where the bound or the disk does not allow it (``force``: the disk only)."""
        record = _record(message)
        if not force and self.bytes + len(record) > self._bytes_max:
            return False
        if self._writing is None or self._writing.size > SEGMENT_BYTES:
            try:
                self._writing = self._create(max(self._segments, default=_FIRST) + 1)
            except OSError as error:
                log.warning("spool_unwritable", error=str(error))
                return False
        return _write(self._writing, record)

    def prepend(self, messages: Iterable[Message]) -> bool:
        """Put messages before everything else; False where the disk does not allow it."""
        try:
            segment = self._create(min(self._segments, default=_FIRST) - 1)
        except OSError as error:
            log.warning("spool_unwritable", error=str(error))
            return False
        written = [_write(segment, _record(message)) for message in messages]
        return all(written)

    def read(self, count_max: int) -> list[Message]:
        """The next messages, in order. A damaged tail ends its segment."""
        found: list[Message] = []
        for number in sorted(self._segments):
            segment = self._segments[number]
            while segment.offset < segment.size and len(found) < count_max:
                message = self._next(segment)
                if message is None:
                    break
                message.segment = number
                segment.pending += 1
                found.append(message)
            self._drop_if_done(segment)
            if len(found) >= count_max:
                break
        return found

    def settle(self, number: int) -> None:
        """A message read from this segment was acknowledged."""
        segment = self._segments.get(number)
        if segment is not None:
            segment.pending -= 1
            self._drop_if_done(segment)

    def close(self) -> None:
        """Bring everything to disk."""
        for segment in self._segments.values():
            os.fsync(segment.file)
            os.close(segment.file)
        self._segments.clear()

    def _create(self, number: int) -> _Segment:
        segment = _Segment(self._folder / f"{self._stem}-{number:09d}.spool", number)
        self._segments[number] = segment
        return segment

    def _next(self, segment: _Segment) -> Message | None:
        head = os.pread(segment.file, _HEAD.size, segment.offset)
        if len(head) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            body = os.pread(segment.file, min(length, RECORD_BYTES_MAX), segment.offset + _HEAD.size)
            if len(body) == length and zlib.crc32(body) == checksum:
                segment.offset += _HEAD.size + length
                subject, headers, payload, count = _decode(body)
                return Message(subject, headers, payload, count)
        self.damaged_bytes += segment.size - segment.offset
        log.warning("spool_damaged", file=segment.path.name, bytes=segment.size - segment.offset)
        segment.offset = segment.size
        return None

    def _drop_if_done(self, segment: _Segment) -> None:
        if segment.offset < segment.size or segment.pending > 0:
            return
        os.close(segment.file)
        segment.path.unlink(missing_ok=True)
        del self._segments[segment.number]
        if self._writing is segment:
            self._writing = None


def _record(message: Message) -> bytes:
    content: tuple[Any, ...] = (message.subject, message.headers, message.payload, message.count)
    body = _encode(content)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _write(segment: _Segment, record: bytes) -> bool:
    try:
        written = os.pwrite(segment.file, record, segment.size)
    except OSError as error:
        log.warning("spool_unwritable", error=str(error))
        return False
    if written < len(record):  # the disk is full: the next record overwrites the half one
        return False
    segment.size += written
    return True
