"""A scripted exchange for whole-path tests: plays given Binance spot frames over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

FIRST_TIME_MS = 1_723_161_240_000  # a whole minute in 2024: old recordings play through the same path


def trade_frame(symbol: str, trade_id: int, price: str, quantity: str, time_ms: int, buyer_maker: bool) -> bytes:
    """A Binance spot ``@trade`` frame of a combined stream, in the documented format."""
    data = {
        "e": "trade", "E": time_ms + 1, "s": symbol, "t": trade_id, "p": price, "q": quantity, "T": time_ms,
        "m": buyer_maker, "M": True,
    }  # fmt: skip
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data}, separators=(",", ":")).encode()


def tape(count: int, minutes: int = 5, symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT")) -> list[bytes]:
    """``count`` frames over ``minutes`` of event time: dense ids, prices that wander, both sides, equal times."""
    frames = []
    next_id = dict.fromkeys(symbols, 1_000)
    for i in range(count):
        symbol = symbols[i * 7 % 3 % len(symbols)]
        time_ms = FIRST_TIME_MS + i // 2 * 2 * minutes * 60_000 // count
        price = (60_000_00 + (i * 37 % 211) - i * 11 % 97 * 13) if symbol == "BTCUSDT" else 2_500_00 + i * 17 % 389
        quantity = f"{(i * 7919 % 4001) + 1}"
        frames.append(
            trade_frame(
                symbol,
                next_id[symbol],
                f"{price // 100}.{price % 100:02}",
                f"0.{quantity:0>5}",
                time_ms,
                i * 31 % 5 < 2,
            )
        )
        next_id[symbol] += 1
    return frames


class Exchange:
    """Everything sent goes to all who listen at that moment; who is away misses it, as on a real exchange."""

    def __init__(self) -> None:
        self.clients: set[ServerConnection] = set()
        self.connections = 0
        self.url = ""

    async def _client(self, socket: ServerConnection) -> None:
        self.connections += 1
        try:
            async for message in socket:
                request = json.loads(message)
                await socket.send(json.dumps({"result": None, "id": request["id"]}))
                if request["method"] == "SUBSCRIBE":
                    self.clients.add(socket)
        except ConnectionClosed:
            pass
        finally:
            self.clients.discard(socket)

    def _answer(self, _socket: ServerConnection, request: Request) -> Response | None:
        if "upgrade" in request.headers.get("Connection", "").lower():
            return None
        return Response(HTTPStatus.NOT_FOUND, "Not Found", Headers(), b"")  # this exchange has no REST

    async def subscribed(self, count: int = 1) -> None:
        """Until ``count`` clients have subscribed."""
        for _ in range(3_000):
            if len(self.clients) >= count:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{len(self.clients)} of {count} producers subscribed")

    async def play(self, frames: Iterable[bytes], per_s: float = 0) -> None:
        """Send the frames, as fast as they are read or at about ``per_s`` a second."""
        for number, frame in enumerate(frames, 1):
            broadcast(self.clients, frame.decode())
            if per_s:
                if number % 20 == 0:
                    await asyncio.sleep(20 / per_s)
            elif number % 50 == 0:
                for client in tuple(self.clients):
                    await client.ping()  # waits while the socket's buffer is full
                await asyncio.sleep(0)


@asynccontextmanager
async def exchange() -> AsyncIterator[Exchange]:
    """A listening exchange; ``url`` is host and port without a scheme."""
    scripted = Exchange()
    async with serve(
        scripted._client, "127.0.0.1", 0, process_request=scripted._answer, compression=None, ping_interval=None
    ) as server:
        scripted.url = f"127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield scripted
