"""An exchange that sends ``count`` Binance spot trades over ``symbols`` symbols as fast as its client reads."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from simulator._blast import blast, chunks

FIRST_TIME_MS = 1_723_161_240_000
SPAN_MS = 60_000
"""Event time the trades are spread over: enough that minutes close on the way, as they do in life."""


def symbol(number: int) -> str:
    """``BTCUSDT``, then ``S001USDT``, …"""
    return "BTCUSDT" if number == 0 else f"S{number:03}USDT"


def frames(count: int, symbols: int) -> list[bytes]:
    """Trade frames in the documented format; busy symbols are busier, runs of one side, prices that wander."""
    made = []
    ids = [1] * symbols
    names = [symbol(number) for number in range(symbols)]
    state = 12_345
    for i in range(count):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        which = int((state / 0x7FFFFFFF) ** 2 * symbols)
        cents = 6_000_000 + (i // 50 * 37) % 4_001 - (state >> 8) % 25
        data = {
            "e": "trade", "E": FIRST_TIME_MS + i * SPAN_MS // count, "s": names[which], "t": ids[which],
            "p": f"{cents // 100}.{cents % 100:02}", "q": f"0.{(state >> 4) % 99_999 + 1:05}",
            "T": FIRST_TIME_MS + i * SPAN_MS // count, "m": (i // 7) % 2 == 0, "M": True,
        }  # fmt: skip
        made.append(msgspec.json.encode({"stream": f"{names[which].lower()}@trade", "data": data}))
        ids[which] += 1
    return made


async def main(port: int, count: int, symbols: int) -> None:
    """Serve until ended."""
    data = chunks(frames(count, symbols))
    await blast(data, port=port, stop=asyncio.Event(), ready=lambda _: print("ready", flush=True))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
