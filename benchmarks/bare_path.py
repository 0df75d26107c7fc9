"""The yardstick: the least code that goes socket → one JSON line per trade → stream → table rows and arrays.

No checks, no spool, no instruments, no candles, no restart: what the machine and the libraries can do, to hold the
product against. Three processes: ``produce``, ``rows``, ``arrays``; each ends after ``count`` trades.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import count
from typing import Any, Literal

import msgspec
import nats
import numpy as np
import uvloop
from nats.aio.msg import Msg
from questdb import Sender, TimestampMicros

from schemas.events import Trade

WINDOW, FLUSH_S, PULL, LINES_MAX = 512, 0.004, 2_000, 2_000
SUBJECT, STREAM, TABLE = "bare.trade", "BARE", "bare"


class _Data(msgspec.Struct, gc=False):
    s: str
    t: int
    p: float
    q: float
    T: int
    m: bool


class _Frame(msgspec.Struct, gc=False):
    data: _Data


_FRAME = msgspec.json.Decoder(_Frame, strict=False).decode
_TRADES = msgspec.json.Decoder(Trade).decode_lines
_ENCODE = msgspec.json.Encoder().encode


async def produce(url: str, ws_url: str, trades: int, transport: Literal["websockets", "picows"]) -> None:
    """Frames to lines; a buffer per symbol, flushed every 4 ms as one message, 512 acks outstanding."""
    client = await nats.connect(url, user="admin", password="", pending_size=64 << 20)
    inbox = client.new_inbox()
    outstanding = 0
    room = asyncio.Event()
    buffers: dict[str, list[bytes]] = {}
    done = 0
    frames_over = asyncio.Event()

    async def acked(_message: Msg) -> None:
        nonlocal outstanding
        outstanding -= 1
        room.set()

    await client.subscribe(inbox + ".*", cb=acked)

    def on_frame(raw: bytes) -> None:
        nonlocal done
        d = _FRAME(raw).data
        line = _ENCODE(Trade("bare", d.s, d.T * 1000, time.time_ns() // 1000, str(d.t), d.p, d.q, d.p * d.q, d.m))
        if (buffer := buffers.get(d.s)) is None:
            buffer = buffers[d.s] = []
        buffer.append(line)
        done += 1
        if done >= trades:
            frames_over.set()

    async def flush() -> None:
        nonlocal outstanding
        sent = 0
        while not (frames_over.is_set() and not any(buffers.values()) and outstanding == 0):
            for symbol, buffer in list(buffers.items()):
                if not buffer:
                    continue
                while outstanding >= WINDOW:
                    room.clear()
                    await room.wait()
                lines, buffers[symbol] = buffer[:LINES_MAX], buffer[LINES_MAX:]
                sent += 1
                outstanding += 1
                await client.publish(
                    f"{SUBJECT}.{symbol}", b"\n".join(lines), reply=f"{inbox}.{sent}",
                    headers={"Nats-Msg-Id": f"{symbol}:{sent}"},
                )  # fmt: skip
            await asyncio.sleep(FLUSH_S)

    reading = asyncio.create_task(_read(ws_url, transport, on_frame))
    await flush()
    reading.cancel()
    await client.close()


async def _read(ws_url: str, transport: str, on_frame: Any) -> None:
    if transport == "websockets":
        from websockets.asyncio.client import connect

        async with connect(ws_url, compression=None, max_queue=None) as socket:
            for number in count():
                on_frame(await socket.recv(decode=False))
                if number % 256 == 0:  # recv() does not yield while frames are waiting
                    await asyncio.sleep(0)
    from picows import WSFrame, WSListener, WSTransport, ws_connect

    class Listener(WSListener):
        def on_ws_frame(self, _transport: WSTransport, frame: WSFrame) -> None:
            on_frame(frame.get_payload_as_bytes())

    transported, _ = await ws_connect(Listener, ws_url)
    await transported.wait_disconnected()


async def _pull(url: str, durable: str, count: int, batch: Any) -> None:
    """Own continuous pull: ask again at half; ``batch(messages)`` is called with what has arrived."""
    client = await nats.connect(url, user="admin", password="", pending_size=64 << 20)
    context = client.jetstream()
    await context.add_consumer(
        STREAM, durable_name=durable, ack_policy="explicit", max_ack_pending=50_000, filter_subject=f"{SUBJECT}.>"
    )
    inbox = client.new_inbox()
    arrived: list[Msg] = []
    wake = asyncio.Event()

    async def on_message(message: Msg) -> None:
        arrived.append(message)
        wake.set()

    await client.subscribe(inbox, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    ask = msgspec.json.encode({"batch": PULL, "expires": 30_000_000_000})
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{durable}"
    credit = taken = 0
    while taken < count:
        if credit < PULL // 2:
            await client.publish(subject, ask, reply=inbox)
            credit += PULL
        await wake.wait()
        wake.clear()
        await asyncio.sleep(0.02)
        messages, arrived[:] = arrived[:], []
        messages = [message for message in messages if message.reply]
        credit -= len(messages)
        taken += await batch(messages)
        for message in messages:
            await client.publish(message.reply, b"")
    await client.flush()
    await client.close()


async def rows(url: str, questdb: str, count: int) -> None:
    """Into the deduplicated table, one flush a batch."""
    sender: Any  # its stub knows no microseconds
    with Sender.from_conf(f"http::addr={questdb};auto_flush=off;") as sender:

        async def write(messages: list[Msg]) -> int:
            written = 0
            for message in messages:
                for t in _TRADES(message.data):
                    sender.row(
                        TABLE,
                        symbols={"symbol": t.symbol, "exchange": t.exchange},
                        columns={
                            "price": t.price, "quantity": t.quantity, "is_buyer_maker": t.is_buyer_maker,
                            "trade_id": t.trade_id, "value": t.value,
                        },
                        at=TimestampMicros(t.timestamp),
                    )  # fmt: skip
                    written += 1
            if written:
                await asyncio.to_thread(sender.flush)
            return written

        await _pull(url, "rows", count, write)


async def arrays(url: str, count: int) -> None:
    """Into NumPy columns."""
    kept = []

    async def take(messages: list[Msg]) -> int:
        trades = [trade for message in messages for trade in _TRADES(message.data)]
        kept.append(np.array([(t.timestamp, t.price, t.quantity) for t in trades]) if trades else np.empty((0, 3)))
        return len(trades)

    await _pull(url, "arrays", count, take)
    assert sum(map(len, kept)) == count


def main(argv: list[str]) -> None:
    """``produce NATS WS COUNT TRANSPORT`` | ``rows NATS QUESTDB COUNT`` | ``arrays NATS COUNT``."""
    part, url, *rest = argv
    if part == "produce":
        uvloop.run(produce(url, rest[0], int(rest[1]), "picows" if rest[2] == "picows" else "websockets"))
    elif part == "rows":
        uvloop.run(rows(url, rest[0], int(rest[1])))
    else:
        uvloop.run(arrays(url, int(rest[0])))


if __name__ == "__main__":
    main(sys.argv[1:])
