"""One WebSocket from handshake to end: the client's frames go to the session, within the exchange's limits."""

from __future__ import annotations

from asyncio import Transport
from collections import deque
from collections.abc import Callable
from typing import cast

from aiohttp import WSMessage, WSMsgType, web

from simulator._connection import Connection, reset
from simulator._faults import Faults
from simulator._frame import PONG, frame
from simulator._hub import Hub
from simulator._venue import Answer

FRAME_MAX = 65_536
_POLICY = 1008


async def converse(
    request: web.Request, hub: Hub, path: str, faults: Faults, monotonic: Callable[[], float]
) -> web.StreamResponse:
    """Serve one connection until either side ends it."""
    transport = cast(Transport, request.transport)
    if faults.take(hub.desk.venue.id, "refuse"):
        hub.counts["refused"] += 1
        reset(transport)
        return web.Response(status=503)
    if not hub.admit(monotonic()):
        hub.counts["refused"] += 1
        return web.Response(status=429)
    session = hub.desk.venue.connect(hub.desk, path, request.query)
    if session is None:
        return web.Response(status=404)
    socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=FRAME_MAX)
    await socket.prepare(request)
    connection = Connection(transport, session, monotonic())
    hub.connections.add(connection)
    try:
        _apply(hub, connection, session.opened())
        recent: deque[float] = deque(maxlen=hub.desk.venue.limits.frames_a_second)
        async for message in socket:
            now = monotonic()
            if len(recent) == recent.maxlen and now - recent[0] < 1.0:
                hub.counts["overrun"] += 1
                connection.close(_POLICY)
                break
            recent.append(now)
            _receive(hub, connection, message, now)
    finally:
        hub.leave(connection)
    return socket


def _receive(hub: Hub, connection: Connection, message: WSMessage, now: float) -> None:
    match message.type:
        case WSMsgType.PONG:
            connection.pong_s = now
        case WSMsgType.PING:
            connection.queue(frame(bytes(message.data), PONG))
            connection.flush()
        case WSMsgType.TEXT:
            _apply(hub, connection, connection.session.received(message.data))


def _apply(hub: Hub, connection: Connection, answer: Answer) -> None:
    for feed in answer.add:
        hub.subscribe(connection, feed)
    for key in answer.remove:
        hub.unsubscribe(connection, key)
    for reply in answer.replies:
        connection.queue(frame(connection.session.stamp(reply)))
    if answer.close:
        connection.close(answer.close)
    else:
        connection.flush()
