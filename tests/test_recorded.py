"""What is recorded decodes to exactly what the same connections made of it, whatever the exchange."""

from __future__ import annotations

import asyncio

import pytest

from producers._exchange import every
from producers._record import own_path
from schemas.recordings import Answer, Frame, Recording, Socket, frame_line, is_cut, note_line, parse
from schemas.settings import ConfigError
from simulator._faults import Fault
from tests.recording import AT, Heard, decoded, recording, until

EXCHANGES = sorted(every())


@pytest.mark.parametrize("exchange", EXCHANGES)
async def test_a_recording_decodes_to_the_events_of_the_connections_it_was_made_of(exchange, tmp_path):
    recorder = Heard()
    async with recording(exchange, tmp_path, recorder):
        await until(lambda: recorder.kinds.get("trade", 0) > 100 and recorder.kinds.get("book", 0) > 10)
    code, events, errors = decoded(exchange, recorder.out.getvalue())
    assert (code, errors) == (0, "")
    assert events == recorder.events
    assert all(event.received >= AT for event in events)


async def test_a_reconnect_is_a_new_socket_of_the_same_lane_and_breaks_no_event(tmp_path):
    recorder = Heard()
    async with recording("coinbase", tmp_path, recorder) as (simulator, _):
        await until(lambda: len(recorder.events) > 50)
        assert simulator.fault(Fault(kind="drop", exchange="coinbase")).fired, "not run: nothing was cut"
        await until(lambda: recorder.sockets > 1)
        count = len(recorder.events)
        await until(lambda: len(recorder.events) > count + 50)
    notes = [parse(line) for line in recorder.out.getvalue().splitlines() if line.startswith(b"# ")]
    sockets = [note for note in notes if isinstance(note, Socket)]
    assert len(sockets) > len({socket.lane for socket in sockets})
    assert decoded("coinbase", recorder.out.getvalue()) == (0, recorder.events, "")


async def test_a_recording_never_grows_beyond_its_limit_and_ends_by_itself(tmp_path):
    recorder = Heard(bytes_max=200_000)
    async with recording("okx", tmp_path, recorder, channels=["trades"]):
        await asyncio.wait_for(recorder.over.wait(), 60)
    assert recorder.reason == "the limit is reached"
    assert len(recorder.out.getvalue()) == recorder.bytes <= 200_000
    code, events, _ = decoded("okx", recorder.out.getvalue())
    assert code == 0
    assert events == recorder.events[: len(events)]


async def test_a_torn_last_line_is_left_out_and_named(tmp_path):
    recorder = Heard()
    async with recording("bybit", tmp_path, recorder, channels=["trades"]):
        await until(lambda: len(recorder.events) > 20)
    whole = recorder.out.getvalue()
    lines = whole.splitlines(keepends=True)
    torn = whole[: -len(lines[-1]) // 2]
    assert not torn.endswith(b"\n")
    code, events, errors = decoded("bybit", torn)
    assert code == 0
    assert events == recorder.events[: len(events)]
    assert errors == f"line {len(lines)}: cut off, and left out\n"


async def test_a_symbol_the_exchange_does_not_have_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="no 'NO-SUCH-COIN'"):
        async with recording("binance", tmp_path, Heard(), symbols=["NO-SUCH-COIN"]) as (_, take):
            await asyncio.wait_for(take, 60)


def test_lines_say_what_was_written_and_a_line_end_inside_a_frame_is_white_space():
    notes = [
        Recording("binance", AT, {"book_depth": 5}), Socket(AT, 2, 1, "/stream"),
        Answer(AT, "instruments", "/a?b=1", '{"a":"é\\n"}\n', "asked", "BTCUSDT"),
    ]  # fmt: skip
    assert [parse(note_line(note)) for note in notes] == notes
    assert all(line.count(b"\n") == 1 for line in map(note_line, notes))
    assert parse(frame_line(AT, 3, b'{"a":\r\n1}')) == Frame(AT, 3, b'{"a":  1}')
    assert parse(b'{"a":1}\n') == Frame(-1, 0, b'{"a":1}')
    assert parse(b"pong\n") == Frame(-1, 0, b"pong")
    assert parse(b"\n") is None
    assert is_cut(frame_line(AT, 1, b"{}")[:-1])
    with pytest.raises(ValueError, match="version 9"):
        parse(note_line(Recording("binance", AT, {}, 9)))
    with pytest.raises(ValueError, match="nothing"):
        parse(b'# {"what":"nothing"}\n')


def test_frames_of_another_exchange_are_refused():
    code, events, errors = decoded("okx", note_line(Recording("binance", AT)))
    assert (code, events) == (1, [])
    assert "frames of binance, not of okx" in errors


def test_a_path_is_the_exchanges_own_whatever_it_is_redirected_to():
    assert own_path("wss://stream.binance.com:9443/stream?x=1", "") == "/stream?x=1"
    assert own_path("wss://advanced-trade-ws.coinbase.com", "") == "/"
    assert own_path("ws://127.0.0.1:9/binance/stream", "ws://127.0.0.1:9/binance/") == "/stream"
    assert own_path("ws://127.0.0.1:9/coinbase", "ws://127.0.0.1:9/coinbase") == "/"
