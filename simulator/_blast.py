"""A server for benchmarks: prepared frames, as fast as the client reads them.

It knows just enough of the protocol: the handshake, an acknowledgement for any ``SUBSCRIBE``, pongs, and a few
fixed HTTP bodies. Everything sent was encoded beforehand, so that what is measured is the client.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha1
from itertools import count
from typing import cast

import msgspec

from simulator._frame import CLOSE, PING, PONG, TEXT, frame

CHUNK = 65_536
REQUEST_MAX = 65_536
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"(?im)^Sec-WebSocket-Key:\s*(\S+)\s*$")


def chunks(lines: Iterable[bytes], size: int = CHUNK) -> list[bytes]:
    """Each line as one text frame, in writes of about ``size`` bytes."""
    made, pending, held = [], [], 0
    for line in lines:
        pending.append(frame(line))
        held += len(pending[-1])
        if held >= size:
            made.append(b"".join(pending))
            pending, held = [], 0
    return [*made, b"".join(pending)] if pending else made


def looped(lines: Sequence[bytes], rounds: int, id_key: str = "t", symbol_key: str = "s") -> Iterator[bytes]:
    """The lines ``rounds`` times over; in each round a symbol's ids (integers under ``id_key``) go on from the last."""
    number = re.compile(rb'("%s":\s*)(\d+)' % id_key.encode())
    name = re.compile(rb'"%s":\s*"([^"]+)"' % symbol_key.encode())
    parsed = [(line, name.search(line), number.search(line)) for line in lines]
    ids: dict[bytes, list[int]] = {}
    for _, symbol, found in parsed:
        if symbol and found:
            ids.setdefault(symbol[1], []).append(int(found[2]))
    spans = {symbol: max(values) - min(values) + 1 for symbol, values in ids.items()}
    for turn in range(rounds):
        for line, symbol, found in parsed:
            if symbol and found and turn:
                name_after = b"%d" % (int(found[2]) + turn * spans[symbol[1]])
                yield line[: found.start(2)] + name_after + line[found.end(2) :]
            else:
                yield line


class _Client(asyncio.Protocol):
    """One connection: an HTTP request, then frames until all is sent, then pongs until the client leaves."""

    def __init__(self, data: Sequence[bytes], bodies: Mapping[str, bytes], done: Callable[[], None]) -> None:
        self._data, self._bodies, self._done = data, bodies, done
        self._received = bytearray()
        self._next = iter(data)
        self._upgraded = self._paused = self._started = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > REQUEST_MAX:
            self._transport.abort()
        elif self._upgraded:
            self._frames()
        elif (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[: end + 4])
            del self._received[: end + 4]
            self._request(head)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def _request(self, head: bytes) -> None:
        key, target = _KEY.search(head), head.split(b" ", 2)[1].decode("latin-1")
        if key is None:
            body = self._bodies.get(target.partition("?")[0])
            status = b"404 Not Found" if body is None else b"200 OK"
            content = b"{}" if body is None else body
            self._transport.write(
                b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (status, len(content), content)
            )
            return
        accept = b64encode(sha1(key[1] + _GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
        self._upgraded = True
        if "streams=" in target or "/ws/" in target:
            self._start()

    def _frames(self) -> None:
        while (taken := _unmask(self._received)) is not None:
            opcode, body = taken
            if opcode == PING:
                self._transport.write(frame(body, PONG))
            elif opcode == CLOSE:
                self._transport.write(frame(body, CLOSE))
                self._transport.close()
            elif opcode == TEXT:
                self._acknowledge(body)

    def _acknowledge(self, body: bytes) -> None:
        request = msgspec.json.decode(body)
        if isinstance(request, dict) and "id" in request:
            self._transport.write(frame(msgspec.json.encode({"result": None, "id": request["id"]})))
            self._start()

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._send()

    def _send(self) -> None:
        while self._started and not self._paused and not self._transport.is_closing():
            chunk = next(self._next, None)
            if chunk is None:
                self._done()
                return
            self._transport.write(chunk)


def _unmask(received: bytearray) -> tuple[int, bytes] | None:
    """Take one whole client frame (opcode, body) off the front, or None until there is one."""
    if len(received) < 6:
        return None
    size, start = received[1] & 0x7F, 2
    if size >= 126:
        width = 2 if size == 126 else 8
        size, start = int.from_bytes(received[2 : 2 + width], "big"), 2 + width
    if len(received) < start + 4 + size:
        return None
    mask, masked = received[start : start + 4], received[start + 4 : start + 4 + size]
    opcode = received[0] & 0x0F
    del received[: start + 4 + size]
    return opcode, bytes(byte ^ mask[place % 4] for byte, place in zip(masked, count(), strict=False))


async def blast(
    data: Sequence[bytes],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    bodies: Mapping[str, bytes] | None = None,
    stop: asyncio.Event,
    ready: Callable[[int], None] | None = None,
    sent: Callable[[], None] | None = None,
) -> None:
    """Serve ``data`` (from ``chunks``) once to each client, from its first subscription on, until ``stop``.

    ``bodies`` are HTTP answers by path, ``ready`` gets the port, ``sent`` is called when a client has been given
    everything.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(data, bodies or {}, sent or (lambda: None)), host, port)
    async with server:
        if ready is not None:
            ready(server.sockets[0].getsockname()[1])
        await stop.wait()
