"""A recording is served as the exchange it was made of, and the real path makes of it what was made before."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner
from websockets.asyncio.client import connect

from consumers._questdb import query
from flowtape.cli import cli
from flowtape.servers import free_port
from producers._connection import Surroundings
from producers._record import Take
from producers._transport import transport
from schemas.events import Trade, encode, identity
from schemas.recordings import Answer, Recording, Socket, frame_line, note_line
from schemas.settings import ExchangeSettings, Settings
from simulator._faults import Fault
from simulator._play import Playback, serve
from simulator._recorded import NotARecording, Recorded
from tests.harness import Command, commands, environment, eventually
from tests.recording import AT, Heard, decoded, recording, until

SECOND = 1_000_000


def written(folder, *lines):
    """A file of these lines."""
    path = folder / "x.frames"
    path.write_bytes(b"".join(lines))
    return path


def few(*frames, path="/stream"):
    """A recording of one socket: (µs after the first, frame)."""
    notes = [Recording("binance", AT), Answer(AT, "instruments", "/info?a=1", '{"symbols":[]}'), Socket(AT, 1, 1, path)]
    return [*map(note_line, notes), *(frame_line(AT + at, 1, raw) for at, raw in frames)]


def trades(events):
    """Trades as they are, but for when they came in."""
    return [encode(msgspec.structs.replace(event, received=0)) for event in events if type(event) is Trade]


@pytest.mark.parametrize("exchange", ["binance", "coinbase", "kraken", "okx_futures"])
async def test_a_producers_connections_hear_from_a_played_file_what_was_heard_when_it_was_recorded(exchange, tmp_path):
    recorder = Heard()
    async with recording(exchange, tmp_path, recorder) as (simulator, _):
        await until(lambda: recorder.kinds.get("trade", 0) > 100)
        opened = recorder.sockets
        assert simulator.fault(Fault(kind="drop", exchange=exchange)).fired, "not run: no socket was cut"
        await until(lambda: recorder.sockets > opened)
        count = recorder.kinds["trade"]
        await until(lambda: recorder.kinds["trade"] > count + 50)
        natives = [tape.listing.canonical for tape in simulator.hubs[exchange].desk.tapes.values()]
    recorded = Recorded(written(tmp_path, recorder.out.getvalue()))
    assert max(map(len, recorded.lanes.values())) > 1
    playback = Playback(recorded, 0.0, monotonic=time.monotonic)
    again, stop = Heard(), asyncio.Event()
    async with serve(playback) as port:
        urls = {"ws_url": f"ws://127.0.0.1:{port}", "rest_url": f"http://127.0.0.1:{port}"}
        settings = Settings(
            data_dir=str(tmp_path), exchanges={exchange: ExchangeSettings(symbols=natives, **urls)}
        )  # fmt: skip
        around = Surroundings(
            clock=lambda: recorded.last, monotonic=time.monotonic, sleep=lambda s: asyncio.sleep(s / 20),
            rng=random.Random(1), connect=transport("websockets"), stop=stop,
        )  # fmt: skip
        take = asyncio.create_task(Take(exchange, settings, again, around).run())
        try:
            await until(lambda: all(lane.over for lane in playback.lanes))
            await until(lambda: again.frames == recorded.frames)
        finally:
            stop.set()
            await take
    assert trades(again.events) == trades(recorder.events)
    assert playback.sent == recorded.frames


async def test_frames_come_at_the_pace_they_came_in_times_the_speed(tmp_path):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        await asyncio.sleep(0)

    frames = [(n * SECOND, b'{"n":%d}' % n) for n in range(11)]
    playback = Playback(Recorded(written(tmp_path, *few(*frames))), 4.0, monotonic=lambda: sum(slept), sleep=sleep)
    async with serve(playback) as port, connect(f"ws://127.0.0.1:{port}/stream") as socket:
        await asyncio.sleep(0.05)
        assert not playback.sent, "nobody has subscribed yet"
        await socket.send("subscribe")
        assert [await socket.recv() async for _ in _times(11)] == [raw.decode() for _, raw in frames]
    assert sum(slept) == pytest.approx(10 / 4)


async def _times(count):
    for n in range(count):
        yield n


async def test_a_client_that_comes_back_goes_on_where_it_left_and_rest_answers_what_was_recorded(tmp_path):
    frames = [(0, b'{"n":0}'), (3600 * SECOND, b'{"n":1}')]
    now = [0.0]
    recorded = Recorded(written(tmp_path, *few(*frames), b"1234 1 {cut o"))
    assert (recorded.frames, recorded.skipped) == (2, 1)
    playback = Playback(recorded, 1.0, monotonic=lambda: now[0], sleep=lambda _: asyncio.sleep(0.005))
    async with serve(playback) as port:
        async with connect(f"ws://127.0.0.1:{port}/stream") as socket:
            await socket.send("subscribe")
            assert await socket.recv() == '{"n":0}'
        await until(lambda: not playback.lanes[0].taken)
        assert not playback.is_over()
        now[0] = 3600.0
        async with connect(f"ws://127.0.0.1:{port}/stream") as socket:
            await socket.send("subscribe")
            assert await socket.recv() == '{"n":1}'
        await until(playback.is_over)
        async with aiohttp.ClientSession() as http:
            found = {}
            for path in ("/info?a=1", "/info?a=2", "/other"):
                async with http.get(f"http://127.0.0.1:{port}{path}") as answer:
                    found[path] = answer.status, await answer.text()
    assert found["/info?a=1"] == (200, '{"symbols":[]}')
    assert [found[path][0] for path in ("/info?a=2", "/other")] == [404, 404]


def test_what_is_no_recording_is_refused_by_name(tmp_path):
    for lines in ([b'{"stream":1}\n'], [], few()):
        with pytest.raises(NotARecording):
            Recorded(written(tmp_path, *lines))
    found = CliRunner().invoke(cli, ["play", str(written(tmp_path, b'{"stream":1}\n'))])
    assert found.exit_code == 2
    assert "does not begin as a recording" in found.output
    found = CliRunner().invoke(cli, ["record", "binance", "--to", str(tmp_path / "x.frames")])
    assert found.exit_code == 2
    assert "is there already" in found.output


def test_where_nothing_came_no_file_is_left(tmp_path):
    away = free_port()
    name = "FLOWTAPE_EXCHANGES_BINANCE"
    variables = {
        "FLOWTAPE_DATA_DIR": f'"{tmp_path}"', f"{name}_SYMBOLS": "BTC-USDT",
        f"{name}_WS_URL": f"ws://127.0.0.1:{away}", f"{name}_REST_URL": f"http://127.0.0.1:{away}",
    }  # fmt: skip
    file = tmp_path / "none.frames"
    found = CliRunner().invoke(cli, ["record", "binance", "--for", "1s", "--to", str(file)], env=variables)
    assert found.exit_code == 1
    assert "nothing came from binance" in found.output
    assert not file.exists()


# --- the commands ------------------------------------------------------------------------------------------------
EXCHANGE, NAME = "sim_bitget_futures", "FLOWTAPE_EXCHANGES_SIM_BITGET_FUTURES"


def at_port(port, path=""):
    return {
        f"{NAME}_WS_URL": f"ws://127.0.0.1:{port}{path}", f"{NAME}_REST_URL": f"http://127.0.0.1:{port}{path}",
        f"{NAME}_SYMBOLS": "BTC-USDT-PERP,ETH-USDT-PERP", f"{NAME}_CHANNELS": "trades,books",
    }  # fmt: skip


async def test_recorded_decoded_and_played_into_the_tables_it_is_the_same_trades(migrated, nats, tmp_path):
    simulated, played = free_port(), free_port()
    file = tmp_path / "taken.frames"
    with commands(migrated, ("simulate", "--port", str(simulated), "--rate", "60")):
        recorder = Command(
            migrated, "record", EXCHANGE, "--to", str(file), **at_port(simulated, "/bitget_futures")
        )  # fmt: skip

        async def enough():
            return file.exists() and file.stat().st_size > 100_000

        await eventually(enough, "something is recorded")
        recorder.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(recorder.process.wait, 60)
    assert recorder.process.returncode == 130, recorder.output()
    assert file.read_bytes().endswith(b"\n"), "Ctrl-C cuts no line"
    decoder = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flowtape", "decode", EXCHANGE, str(file), env=environment(migrated.settings),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, complaints = await decoder.communicate()
    assert (decoder.returncode, complaints) == (0, b"")
    _, events, _ = decoded(EXCHANGE, file.read_bytes())
    assert printed == b"".join(encode(event) + b"\n" for event in events)
    wanted = {identity(event): event for event in events if type(event) is Trade}
    assert len(wanted) > 50

    async def stored():
        rows = await query(
            migrated.questdb_pg,
            "SELECT exchange, symbol, timestamp::long, trade_id, price, quantity, value, is_buyer_maker, fills "
            "FROM trades WHERE exchange = $1",
            EXCHANGE,
        )  # fmt: skip
        found = {(e, s, i, t): (p, q, v, m, f) for e, s, t, i, p, q, v, m, f in rows}
        return found if len(found) >= len(wanted) else None

    each = (("play", str(file), "--port", str(played), "--speed", "max"), ("consume", "trades"), ("produce", EXCHANGE))
    with commands(migrated, *each, **at_port(played)) as (player, *_):
        rows = await eventually(stored, "every recorded trade is a row")
        await asyncio.to_thread(player.process.wait, 60)
    assert player.process.returncode == 0, player.output()
    found = {who: rows.get(who) for who in wanted}
    assert found == {
        who: (it.price, it.quantity, it.value, it.is_buyer_maker, it.fills) for who, it in wanted.items()
    }  # fmt: skip
    assert len(rows) == len(wanted)
