"""``flowtape record`` and ``flowtape play``: what an exchange sends into a file, and a file as the exchange again."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time as clocks
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from flowtape import log
from flowtape.backfill import Bar
from flowtape.log import Enduring
from flowtape.servers import ServerError
from flowtape.worker import loop_factory, stop_signals
from producers._connection import Surroundings
from producers._record import Recorder, Take
from producers._transport import transport
from schemas.settings import ConfigError, ExchangeSettings, Settings
from simulator._play import Playback, serve
from simulator._recorded import NotARecording, Recorded

BUFFER_BYTES = 1 << 20
LOOK_S = 0.25


def record(settings: Settings, exchange: str, file: Path, seconds: float | None, bytes_max: int) -> int:
    """Record until ``seconds`` have passed, the file is full or a signal comes; 0, 1 where it failed, 130 after Ctrl-C.

    Raises ConfigError for a file that is there or cannot be written, and for symbols that do not exist.
    """
    log.configure("record", settings.log.format)
    try:
        out = file.open("xb", buffering=BUFFER_BYTES)
    except FileExistsError as error:
        raise ConfigError("command line", "--to", f"{file} is there already") from error
    except OSError as error:
        raise ConfigError("command line", "--to", f"{file}: {error.strerror}") from error
    recorder = Recorder(out, bytes_max)
    try:
        code = _run(_record(settings, exchange, recorder, seconds))
    finally:
        with suppress(OSError):  # told already
            out.close()
        if not recorder.frames:
            file.unlink()
    if recorder.reason:
        print(f"flowtape: record ended: {recorder.reason}", file=sys.stderr)
    span = (recorder.last - recorder.first) / 1e6
    if not recorder.frames:
        print(f"flowtape: nothing came from {exchange}; no file is left", file=sys.stderr)
        return code or 1
    print(
        f"{exchange}: {recorder.frames:,} frames of {span:.1f} s over {recorder.sockets} sockets, "
        f"{recorder.bytes / 1e6:.1f} MB in {file}"
    )
    return code or int(recorder.reason.startswith("cannot"))


async def _record(settings: Settings, exchange: str, recorder: Recorder, seconds: float | None) -> int:
    stop, seen = stop_signals()
    its = settings.exchanges.get(exchange) or ExchangeSettings()
    around = Surroundings(
        clock=lambda: clocks.time_ns() // 1000, monotonic=clocks.monotonic, sleep=asyncio.sleep, rng=random.Random(),
        connect=transport(its.transport), stop=stop,
    )  # fmt: skip
    take = Take(exchange, settings, recorder, around)
    bar = asyncio.create_task(_show(recorder, seconds))
    timer = asyncio.get_running_loop().call_later(seconds, stop.set) if seconds is not None else None
    try:
        await take.run()
    finally:
        bar.cancel()
        if timer is not None:
            timer.cancel()
    return 130 if signal.SIGINT in seen else 0


async def _show(recorder: Recorder, seconds: float | None) -> None:
    """A line on a terminal, until cancelled."""
    bar = Bar(Enduring(sys.stderr))  # type: ignore[arg-type]  # all of a TextIO that is used
    began = clocks.monotonic()
    try:
        while True:
            passed = clocks.monotonic() - began
            done, total = (int(passed * 10), int(seconds * 10)) if seconds else (recorder.bytes, recorder.bytes_max)
            bar.show(min(done, total), total, f"{recorder.frames:,} frames, {recorder.bytes / 1e6:.1f} MB")
            await asyncio.sleep(LOOK_S)
    finally:
        bar.end()


def play(file: Path, port: int, speed: float) -> int:
    """Serve a recording until it is over or a signal comes; 0, 130 after Ctrl-C. Raises ConfigError, ServerError."""
    log.configure("play")
    try:
        recorded = Recorded(file)
    except (NotARecording, OSError) as error:
        raise ConfigError("command line", str(file), str(error)) from error
    try:
        return _run(_play(recorded, port, speed))
    except OSError as error:
        raise ServerError("play", f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from error


async def _play(recorded: Recorded, port: int, speed: float) -> int:
    stop, seen = stop_signals()
    playback = Playback(recorded, speed, monotonic=clocks.monotonic)
    async with serve(playback, port=port) as bound:
        pace = f"{speed:g} times as fast" if speed else "as fast as it is read"
        name = f"FLOWTAPE_EXCHANGES_{recorded.exchange.upper()}"
        print(f"playing {recorded.frames:,} frames of {recorded.seconds:.1f} s of {recorded.exchange}, {pace}:")
        print(
            f"{name}_WS_URL=ws://127.0.0.1:{bound} {name}_REST_URL=http://127.0.0.1:{bound} "
            f"flowtape produce {recorded.exchange}",
            flush=True,
        )
        while not stop.is_set() and not playback.is_over():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_S)
    print(f"played {playback.sent:,} of {recorded.frames:,} frames")
    return 130 if signal.SIGINT in seen else 0


def _run(work: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)
