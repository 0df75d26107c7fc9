"""``flowtape decode``: recorded frames to events, offline, with the sessions live connections use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO

import msgspec

from producers._exchange import (
    UNREADABLE,
    FrameError,
    Options,
    Request,
    Session,
    Setup,
    SubscriptionRejected,
    directory,
    load,
)  # fmt: skip
from producers._feeds import Feeds
from schemas.events import Event, encode
from schemas.recordings import Answer, Frame, Note, Recording, Socket, is_cut, parse


class Decoder:
    """Events of the lines of one capture. What a recording says of shapes, instruments and sockets is heeded."""

    def __init__(self, exchange: str, instruments_body: bytes | None) -> None:
        """Raises NoProducer, and MsgspecError or ValueError where the body is not the exchange's."""
        self._declared = load(exchange)
        self._known = directory(self._declared, exchange)
        self._given = instruments_body is not None
        if instruments_body is not None:
            self._known.learn(self._declared.instruments(instruments_body))
        self._setup = Setup(exchange, Feeds(self._known), Options())
        self._sessions: dict[int, Session] = {}
        self.is_recording = False

    def events(self, line: bytes) -> Sequence[Event]:
        """Those of a line. Raises FrameError, SubscriptionRejected."""
        try:
            it = parse(line)
            if it is None:
                return ()
            if not isinstance(it, Frame):
                return self._learn(it)
        except UNREADABLE as error:
            raise FrameError(f"not a line of a recording: {error}", line) from error
        session = self._sessions.get(it.socket)
        if session is None:
            session = self._sessions[it.socket] = self._declared.session(self._setup)
        if it.received >= 0:
            return session.parse(it.raw, it.received)
        return [_stamped(event) for event in session.parse(it.raw, 0)]

    def _learn(self, note: Note) -> Sequence[Event]:
        match note:
            case Recording():
                if note.exchange != self._setup.exchange:
                    raise ValueError(f"these are frames of {note.exchange}, not of {self._setup.exchange}")
                self.is_recording = True
                self._setup = self._setup._replace(options=msgspec.convert(note.options, Options))
            case Socket():
                self._sessions[note.socket] = self._declared.session(self._setup)
            case Answer(about="instruments"):
                if not self._given:
                    self._known.learn(self._declared.instruments(note.body.encode()))
                    self._setup.feeds.refresh()
            case Answer():
                channel = self._declared.channels.get(note.about)
                if channel is not None and channel.knowledge is not None:
                    request = Request(note.path, symbol=note.symbol, body=note.asked.encode())
                    return channel.knowledge.parse(note.body.encode(), request, note.at, self._setup)
        return ()


def decode(exchange: str, lines: Iterable[bytes], instruments_body: bytes | None, out: IO[bytes], err: IO[str]) -> int:
    """Events of ``lines`` to ``out``, one JSON object a line; bad lines named on ``err``. Returns the exit code.

    ``instruments_body`` is the venue's own REST body; without it, and without what a recording brings along, symbols
    follow the venue's quote list. In a plain capture ``received`` equals ``timestamp``, both 0 where the frame has no
    time. The last line of a recording may be cut off. Raises NoProducer.
    """
    try:
        decoder = Decoder(exchange, instruments_body)
    except (msgspec.MsgspecError, ValueError) as error:
        err.write(f"instruments: not what {exchange} sends: {error}\n")
        return 1
    bad = 0
    for number, line in enumerate(lines, 1):
        if decoder.is_recording and is_cut(line):
            err.write(f"line {number}: cut off, and left out\n")
            break
        try:
            for event in decoder.events(line):
                out.write(encode(event) + b"\n")
        except (FrameError, SubscriptionRejected) as error:
            bad += 1
            err.write(f"line {number}: {error}\n")
    return 1 if bad else 0


def _stamped(event: Event) -> Event:
    event.received = event.timestamp
    return event
