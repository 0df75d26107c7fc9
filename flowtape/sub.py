"""``flowtape sub``: events as they pass, as any NATS client would see them."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import BinaryIO

from nats import errors
from nats.aio.msg import Msg

from flowtape import bus
from schemas.settings import Settings


async def follow(settings: Settings, subject: str, out: BinaryIO) -> int:
    """Print the payload lines of ``subject`` until Ctrl-C; exit code 130 then, 1 when NATS is not there."""
    try:
        nats = await bus.connect(settings, "app", reconnect=False)
    except (OSError, errors.Error) as error:
        print(f"flowtape: no NATS at {settings.nats.url}: {error}", file=sys.stderr)
        return 1
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)

    async def show(message: Msg) -> None:
        try:
            out.write(message.data.rstrip(b"\n") + b"\n")
            out.flush()
        except BrokenPipeError:
            done.set()

    try:
        await nats.subscribe(subject, cb=show)
        await nats.flush()
    except (errors.Error, ValueError) as error:
        print(f"flowtape: cannot subscribe to {subject!r}: {error}", file=sys.stderr)
        return 1
    await done.wait()
    await nats.close()
    return 130
