"""A recording of a simulated exchange in quick time, without servers, and what it decodes to."""

from __future__ import annotations

import asyncio
import io
import random
import time
from contextlib import asynccontextmanager

from producers._connection import Surroundings
from producers._decode import decode
from producers._record import Recorder, Take
from producers._transport import transport
from schemas.events import decode_any
from schemas.settings import ExchangeSettings, Settings
from simulator._market import Market
from simulator._run import serve
from tests.living import QUICK, START_MS

BYTES_MAX = 1 << 30
AT = START_MS * 1000


class Heard(Recorder):
    """Keeps the events that were made of the frames, too."""

    def __init__(self, bytes_max=BYTES_MAX):
        self.out, self.events = io.BytesIO(), []
        super().__init__(self.out, bytes_max)

    def add(self, event):
        super().add(event)
        self.events.append(event)


@asynccontextmanager
async def recording(exchange, folder, recorder, **its):
    """A take of a simulated exchange in quick time, ended on the way out; the simulator, and the take."""
    began = time.monotonic()

    def clock():
        return AT + int((time.monotonic() - began) * QUICK * 1e6)

    stop = asyncio.Event()
    around = Surroundings(
        clock=clock, monotonic=lambda: time.monotonic() * QUICK, sleep=lambda s: asyncio.sleep(s / QUICK),
        rng=random.Random(1), connect=transport("websockets"), stop=stop,
    )  # fmt: skip
    async with serve(Market(7, 3, 60.0), clock=clock, monotonic=lambda: time.monotonic() * QUICK, turn_s=0.005) as (
        simulator,
        port,
    ):
        symbols = [tape.listing.canonical for tape in simulator.hubs[exchange].desk.tapes.values()]
        urls = {"ws_url": f"ws://127.0.0.1:{port}/{exchange}", "rest_url": f"http://127.0.0.1:{port}/{exchange}"}
        asked = ExchangeSettings(**{"symbols": symbols, **urls, **its})
        settings = Settings(data_dir=str(folder), exchanges={exchange: asked})
        take = asyncio.create_task(Take(exchange, settings, recorder, around).run())
        try:
            yield simulator, take
        finally:
            stop.set()
            await take


async def until(holds):
    """Wait for what the recording is about to have."""
    async with asyncio.timeout(60):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def decoded(exchange, recorded):
    out, err = io.BytesIO(), io.StringIO()
    code = decode(exchange, io.BytesIO(recorded), None, out, err)
    return code, [*map(decode_any, out.getvalue().splitlines())], err.getvalue()
