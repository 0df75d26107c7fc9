"""Binance's WebSocket protocol: streams in the URL or asked for, acknowledged whether they exist or not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from simulator._binance_streams import Envelope, Instrument
from simulator._candles import INTERVALS
from simulator._venue import Answer, Feed, Query, Session

STREAMS_MAX = 1_024
_POLICY = 1008
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_DEPTH = re.compile(r"depth(5|10|20)?(?:@(0ms|100ms|250ms|500ms))?")


class BinanceSession(Session):
    """``wanted`` maps each subscribed stream to whether something is delivered for it."""

    def __init__(self, find: Callable[[str, Envelope], Feed | None], envelope: Envelope, streams: list[str]) -> None:
        self._find, self._envelope, self._streams = find, envelope, streams
        self._wanted: dict[str, bool] = {}

    def opened(self) -> Answer:
        """Streams named in the URL begin at once."""
        return Answer(add=self._add(self._streams), close=_POLICY if len(self._wanted) > STREAMS_MAX else 0)

    def received(self, frame: str) -> Answer:
        """One request."""
        try:
            request = msgspec.json.decode(frame)
        except (msgspec.MsgspecError, RecursionError):
            return _refused(None, 3, "Invalid JSON: expected value at line 1 column 1")
        if not isinstance(request, dict) or "method" not in request:
            return _refused(None, 2, "Invalid request: missing field `method` at line 1 column 2")
        name, method = request.get("id"), request["method"]
        if method not in _METHODS:
            known = ", ".join(f"`{known}`" for known in _METHODS)
            return _refused(name, 2, f"Invalid request: unknown variant `{method}`, expected one of {known}")
        return self._obey(method, name, request.get("params", []))

    def shutdown(self, now_ms: int) -> bytes | None:
        """``serverShutdown``."""
        before, after = self._envelope.around("!serverShutdown")
        return f'{before}{{"e":"serverShutdown","E":{now_ms}{self._envelope.zeros}}}{after}'.encode()

    def _obey(self, method: str, name: Any, params: Any) -> Answer:
        if method == "LIST_SUBSCRIPTIONS":
            return Answer([_json({"result": list(self._wanted), "id": name})])
        if method.endswith("PROPERTY"):
            return Answer([_json({"result": self._envelope.combined if method[0] == "G" else None, "id": name})])
        if not isinstance(params, list) or not all(isinstance(stream, str) for stream in params) or not params:
            return _refused(name, 2, "Invalid request: request params must be an array of strings")
        done = [_json({"result": None, "id": name})]
        if method == "UNSUBSCRIBE":
            gone = [self._envelope.key(stream) for stream in params if self._wanted.pop(stream, False)]
            return Answer(done, remove=gone)
        added = self._add(params)
        if len(self._wanted) > STREAMS_MAX:
            return Answer(_refused(name, 2, f"Too many streams, at most {STREAMS_MAX}").replies, close=_POLICY)
        return Answer(done, add=added)

    def _add(self, streams: list[str]) -> list[Feed]:
        added = []
        for stream in streams:
            feed = None if stream in self._wanted else self._find(stream, self._envelope)
            self._wanted[stream] = feed is not None or self._wanted.get(stream, False)
            if feed is not None:
                added.append(feed)
        return added


def connect(path: str, query: Query, find: Callable[[str, Envelope], Feed | None]) -> BinanceSession | None:
    """The session of ``/stream?streams=a/b``, ``/stream``, ``/ws/a`` or ``/ws``; None for another path."""
    us = query.get("timeUnit", "").upper() == "MICROSECOND"
    if path.rstrip("/") == "/stream":
        named = [stream for stream in query.get("streams", "").split("/") if stream]
        return BinanceSession(find, Envelope(True, us), named)
    if path == "/ws" or path.startswith("/ws/"):
        named = [stream for stream in path.removeprefix("/ws").split("/") if stream]
        return BinanceSession(find, Envelope(False, us), named)
    return None


def common_feed(instrument: Instrument, stream: str, rest: str, envelope: Envelope) -> Feed | None:
    """The streams spot and futures both have; ``rest`` is what stands behind the symbol."""
    if rest == "trade":
        return instrument.trades(stream, envelope)
    if rest == "aggTrade":
        return instrument.aggregates(stream, envelope)
    if rest == "bookTicker":
        return instrument.ticker(stream, envelope)
    if rest.startswith("kline_") and rest[6:] in INTERVALS:
        return instrument.klines(stream, envelope, rest[6:])
    if depth := _DEPTH.fullmatch(rest):
        levels, speed = depth[1], depth[2] or ""
        if levels:
            return instrument.depth(stream, envelope, int(levels), speed)
        return instrument.difference(stream, envelope, speed)
    return None


def _refused(name: Any, code: int, message: str) -> Answer:
    return Answer([_json({"error": {"code": code, "msg": message}, "id": name})])


def _json(body: Any) -> bytes:
    return msgspec.json.encode(body)
