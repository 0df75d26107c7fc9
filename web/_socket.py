"""``/ws``: keys of Redis and subjects of the log, as they change.

``{"op": "subscribe", "keys": […], "since": sequence}`` → ``{"key", "sequence", "value"}``, value by value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import msgspec
import structlog
from aiohttp import WSMsgType, web
from msgspec import Meta
from nats.aio.client import Client
from redis.exceptions import RedisError

from web._errors import ApiError, body
from web._feed import follow, is_subject
from web._hub import Hub, Watcher, is_key

SOCKETS_MAX, SOCKETS_OF_CLIENT_MAX = 256, 32
KEYS_MAX = 256
"""Subscriptions of one socket."""
SUBJECTS_MAX = 64
"""Of these, subjects of the log: each is a consumer of the server."""
MESSAGE_BYTES_MAX = 32 * 1024
BEAT_S, SEND_S_MAX, BYE_S_MAX = 5.0, 20.0, 3.0
_log = structlog.get_logger()


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    op: str
    keys: Annotated[list[Annotated[str, Meta(max_length=200)]], Meta(max_length=KEYS_MAX)] = []
    since: int | None = None


_order = msgspec.json.Decoder(_Order).decode


class Sockets:
    """All open sockets, and how many each client has."""

    def __init__(self, hub: Hub, nats: Client, clock: Callable[[], int]) -> None:
        self.hub, self.nats, self.clock = hub, nats, clock
        self._of: dict[str, int] = {}
        self._open: set[web.WebSocketResponse] = set()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One socket, from handshake to end. Raises ApiError 429."""
        client = request.remote or ""
        if len(self._open) >= SOCKETS_MAX or self._of.get(client, 0) >= SOCKETS_OF_CLIENT_MAX:
            raise ApiError(429, "too_many_sockets", f"at most {SOCKETS_OF_CLIENT_MAX} sockets of one client")
        socket = web.WebSocketResponse(heartbeat=15, max_msg_size=MESSAGE_BYTES_MAX, compress=False)
        self._of[client] = self._of.get(client, 0) + 1
        self._open.add(socket)
        try:
            await socket.prepare(request)
            await _Session(self, socket).run()
        finally:
            self._open.discard(socket)
            self._of[client] -= 1
            if not self._of[client]:
                del self._of[client]
        return socket

    async def close(self) -> None:
        """Say goodbye to all at once; who does not answer is not waited for."""

        async def bye(socket: web.WebSocketResponse) -> None:
            with suppress(ConnectionError, RuntimeError):
                await socket.close(code=1001, message=b"stopping")

        with suppress(TimeoutError):
            async with asyncio.timeout(BYE_S_MAX):
                await asyncio.gather(*(bye(socket) for socket in self._open))


class _Session:
    """One socket's subscriptions."""

    def __init__(self, sockets: Sockets, socket: web.WebSocketResponse) -> None:
        self._sockets, self._socket = sockets, socket
        self._watcher = Watcher()
        self._keys: set[str] = set()
        self._subjects: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        tasks = [asyncio.create_task(self._send_changes()), asyncio.create_task(self._beat())]
        try:
            async for message in self._socket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                await self._obey(message.data)
        finally:
            for task in (*tasks, *self._subjects.values()):
                task.cancel()
            await asyncio.gather(*tasks, *self._subjects.values(), return_exceptions=True)
            for key in self._keys:
                self._sockets.hub.forget(self._watcher, key)

    async def _obey(self, text: str | bytes) -> None:
        try:
            order = _order(text)
        except msgspec.DecodeError as error:
            await self._send(body("invalid_message", str(error)))
            return
        match order.op:
            case "subscribe":
                keys = [key for key in dict.fromkeys(order.keys) if await self._subscribed(key, order.since)]
                await self._send(msgspec.json.encode({"op": "subscribed", "keys": keys}))
            case "unsubscribe":
                for key in order.keys:
                    self._unsubscribe(key)
                await self._send(msgspec.json.encode({"op": "unsubscribed", "keys": order.keys}))
            case "ping":
                await self._send(b'{"op":"pong"}')
            case _:
                await self._send(body("unknown_op", "there are subscribe, unsubscribe and ping"))

    async def _subscribed(self, key: str, since: int | None) -> bool:
        """Whether the key is followed now; why not is told to the client."""
        try:
            await self._subscribe(key, since)
        except ApiError as error:
            await self._send(body(error.code, error.message, key))
            return key in self._keys
        return True

    async def _subscribe(self, key: str, since: int | None) -> None:
        if key in self._keys or key in self._subjects:
            self._unsubscribe(key)
        if len(self._keys) + len(self._subjects) >= KEYS_MAX:
            raise ApiError(429, "too_many_keys", f"at most {KEYS_MAX} keys a socket")
        if is_subject(key):
            if len(self._subjects) >= SUBJECTS_MAX:
                raise ApiError(429, "too_many_keys", f"at most {SUBJECTS_MAX} subjects a socket")
            self._subjects[key] = asyncio.create_task(self._follow(key, since))
        elif is_key(key):
            self._keys.add(key)
            try:
                await self._sockets.hub.watch(self._watcher, key, since)
            except (RedisError, OSError) as error:
                raise ApiError(503, "cache_away", "Redis does not answer; changes follow when it is back") from error
        else:
            raise ApiError(400, "unknown_key", f"{key!r} is neither a key nor a subject of ours")

    def _unsubscribe(self, key: str) -> None:
        if task := self._subjects.pop(key, None):
            task.cancel()
        elif key in self._keys:
            self._keys.discard(key)
            self._sockets.hub.forget(self._watcher, key)

    async def _follow(self, subject: str, since: int | None) -> None:
        name = msgspec.json.encode(subject)

        async def send(sequence: int, value: bytes) -> None:
            await self._send(b'{"key":%b,"sequence":%d,"value":%b}' % (name, sequence, value))

        try:
            await follow(self._sockets.nats, subject, since, send)
        except ApiError as error:
            await self._send(body(error.code, error.message, subject))
            self._subjects.pop(subject, None)

    async def _send_changes(self) -> None:
        pending = self._watcher.pending
        while True:
            await self._watcher.changed.wait()
            self._watcher.changed.clear()
            while pending:
                key, part = next(iter(pending))
                sequence, value = pending.pop((key, part))
                name = msgspec.json.encode(key)
                await self._send(b'{"key":%b,"sequence":%d,"value":%b}' % (name, sequence, value))

    async def _beat(self) -> None:
        while True:
            await self._send(b'{"op":"heartbeat","as_of":%d}' % self._sockets.clock())
            await asyncio.sleep(BEAT_S)

    async def _send(self, text: bytes) -> None:
        """One text message; a client that takes none for long is let go."""
        try:
            async with asyncio.timeout(SEND_S_MAX):
                await self._socket.send_str(text.decode())
        except TimeoutError:
            _log.info("socket_too_slow")
            await self._socket.close(code=1008, message=b"too slow")
        except ConnectionError:
            return  # the reading side ends the session
