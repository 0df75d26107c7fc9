"""What sessions remember, what they refuse, and what ``decode`` says about bad lines."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers._connection import Surroundings
from producers._decode import decode
from producers._exchange import FrameError, Options, Setup, SubscriptionRejected, directory, load
from producers._feeds import Feeds
from producers._holes import gaps
from producers._revisions import Revisions
from producers._transport import connect_websockets
from schemas.events import Event, Gap, Kline
from tests.producing import NOW, Sink, frame, session, until


def _text(data: dict[str, object], stream: str) -> bytes:
    return msgspec.json.encode({"stream": stream, "data": data})


def _print(**change: object) -> bytes:
    whole = {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 7, "p": "100", "q": "2", "T": NOW // 1000, "m": True}
    return _text(whole | change, "btcusdt@trade")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"p": "NaN"}, "finite"),
        ({"p": "Infinity"}, "finite"),
        ({"p": "1e308", "q": "1e308"}, "finite"),
        ({"q": "0"}, "positive"),
        ({"q": "-1"}, "positive"),
        ({"t": -1}, "id"),
        ({"t": 10**30}, "id|int"),
        ({"T": 1_000_000_000_000}, "timestamp"),  # 2001
        ({"T": NOW // 1000 + 2 * 86_400_000}, "timestamp"),  # in two days
        ({"T": 0}, "timestamp"),
        ({"s": "ETH.*>"}, "unknown symbol"),
        ({"s": "币安USDT"}, "unknown symbol"),
        ({"p": None}, "float"),
    ],
)
def test_what_must_not_enter_the_log_is_refused_with_its_raw_bytes(change: dict[str, object], reason: str) -> None:
    raw = _print(**change)
    with pytest.raises(FrameError, match=reason) as refused:
        session().parse(raw, NOW)
    assert refused.value.raw == raw
    assert refused.value.kind == "trade"
    assert "parser bug" not in refused.value.reason


def test_milliseconds_and_microseconds_are_told_apart() -> None:
    (milli,) = session().parse(_print(T=NOW // 1000), NOW)
    (micro,) = session().parse(_print(T=NOW + 5), NOW)
    assert (milli.timestamp, micro.timestamp) == (NOW, NOW + 5)


def test_a_bug_of_ours_looks_like_a_bad_frame_with_a_reason_of_its_own() -> None:
    it = session()
    it._prints = None
    with pytest.raises(FrameError, match="parser bug: TypeError"):
        it.parse(_print(), NOW)


def test_an_off_book_print_is_dropped_after_continuity_has_seen_its_id() -> None:
    it = session("binance_futures")
    for number, kind in ((1, "MARKET"), (2, "ADL"), (3, "NA"), (4, "MARKET")):
        it.parse(_print(t=number, X=kind, **({"p": "0", "q": "0"} if kind == "NA" else {})), NOW)
    (feed,) = it.feeds.all()
    assert (feed.expected, len(feed.holes)) == (5, 0)


def test_an_id_that_is_skipped_becomes_an_open_gap_and_a_late_one_does_not() -> None:
    it = session()
    for number in (10, 11, 15, 13, 12):
        it.parse(_print(t=number, T=NOW // 1000 + number), NOW + number)
    setup = Setup("binance", it.feeds, it.options)
    assert not list(gaps(setup, {"trades"}, NOW + 100))
    (gap,) = gaps(setup, {"trades"}, NOW + 2_000_000)
    assert isinstance(gap, Gap)
    assert (gap.from_id, gap.to_id, gap.expected, gap.cause) == ("14", "14", 1, "skipped")
    assert (gap.from_timestamp, gap.to_timestamp) == (NOW + 11_000, NOW + 15_000)
    assert not list(gaps(setup, {"trades"}, NOW + 9_000_000))


def test_an_id_that_starts_over_is_a_new_numbering_and_not_a_gap() -> None:
    it = session()
    for number in (5_000_000_000, 5_000_000_001, 1, 2):
        it.parse(_print(t=number), NOW)
    (feed,) = it.feeds.all()
    assert (feed.resets, feed.expected, len(feed.holes)) == (1, 3, 0)


def test_a_simulated_exchange_differs_in_nothing_but_its_name() -> None:
    declared = load("sim_binance")
    known = directory(declared, "sim_binance")
    (event,) = declared.session(Setup("sim_binance", Feeds(known), Options())).parse(_print(), NOW)
    (real,) = session().parse(_print(), NOW)
    assert event.exchange == "sim_binance"
    assert msgspec.structs.replace(event, exchange="binance") == real


def test_a_slot_has_one_book_and_it_is_the_first() -> None:
    it = session(book_depth=1, book_every=1_000_000)
    levels = {"bids": [["10", "1"], ["9", "1"]], "asks": [["11", "1"]]}
    found: list[Event] = []
    for number, received in enumerate((NOW, NOW + 500_000, NOW + 999_999, NOW + 1_000_000)):
        found += it.parse(_text({"lastUpdateId": number} | levels, "btcusdt@depth20@100ms"), received)
    assert [(book.sequence, book.timestamp) for book in found] == [(0, NOW), (3, NOW + 1_000_000)]
    assert found[0].bids == [(10.0, 1.0)]


def test_a_refused_subscription_names_its_symbol() -> None:
    it = session()
    it.subscribe(["btcusdt@trade"])
    with pytest.raises(SubscriptionRejected) as rejected:
        it.parse(b'{"error":{"code":2,"msg":"Invalid request"},"id":1}', NOW)
    assert rejected.value.symbol == "BTC-USDT"
    assert rejected.value.topics == ("btcusdt@trade",)
    assert "Invalid request" in rejected.value.reason


def test_a_corrected_candle_gets_the_next_revision_and_a_repeated_one_is_dropped() -> None:
    sink = Sink()
    revisions = Revisions(sink)  # type: ignore[arg-type]  # anything that takes events
    for close, received in ((2.0, 1), (2.0, 2), (2.5, 3), (2.5, 4)):
        revisions.add(Kline("binance", "BTC-USDT", NOW, received, "1m", 1.0, 3.0, 1.0, close, 5.0, 9.0, 3, "ws"))
    assert [(event.close, event.revision, event.received) for event in sink.events] == [(2.0, 0, 1), (2.5, 1, 3)]


def test_decode_names_bad_lines_and_keeps_the_others() -> None:
    lines = [_print(), b"", b"{", _print(p="NaN"), _print(t=8)]
    out, err = io.BytesIO(), io.StringIO()
    assert decode("binance", lines, None, out, err) == 1
    assert [msgspec.json.decode(line)["trade_id"] for line in out.getvalue().splitlines()] == ["7", "8"]
    named = [line.partition(":")[0] for line in err.getvalue().splitlines()]
    assert named == ["line 3", "line 4"]


def test_decode_takes_symbols_from_the_venues_own_list() -> None:
    body = b'{"symbols":[{"symbol":"ABCDEF","baseAsset":"ABC","quoteAsset":"DEF","status":"TRADING"}]}'
    out, err = io.BytesIO(), io.StringIO()
    assert decode("binance", [_print(s="ABCDEF")], body, out, err) == 0
    assert msgspec.json.decode(out.getvalue())["symbol"] == "ABC-DEF"
    assert decode("binance", [_print(s="ABCDEF")], None, out, err) == 1
    assert decode("binance", [], b"<html>", out, err) == 1


async def _received(wire: bytes, cuts: Sequence[int]) -> list[bytes]:
    """What a link hands on when the server's bytes arrive in these pieces."""
    frames: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(_handshake(request))
        start = 0
        for cut in (*cuts, len(wire)):
            writer.write(wire[start:cut])
            start = cut
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = await connect_websockets(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/s", frames.append, 1 << 20)
    await until(lambda: len(frames) >= 20)
    link.close()
    await link.ended
    server.close()
    await server.wait_closed()
    return frames


def _handshake(request: bytes) -> bytes:
    from base64 import b64encode
    from hashlib import sha1

    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"


@given(cuts=st.lists(st.integers(0, 3_000), max_size=40).map(sorted))
def test_how_the_bytes_are_cut_on_the_way_changes_nothing(cuts: list[int]) -> None:
    texts = [frame(number).encode() for number in range(20)]
    wire = b"".join(b"\x81\x7e" + struct.pack(">H", len(text)) + text for text in texts)
    assert asyncio.run(_received(wire, cuts)) == texts


def test_the_surroundings_name_everything_a_connection_would_reach_for() -> None:
    assert set(Surroundings._fields) == {"clock", "monotonic", "sleep", "rng", "connect", "stop"}
