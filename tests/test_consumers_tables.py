"""What is published becomes rows, once each; what cannot become one becomes a dead letter and stops nothing."""

from __future__ import annotations

import msgspec
import pytest
from nats.aio.client import Client

from consumers._questdb import query
from schemas import events, instruments, names
from schemas.events import Book, Funding, Gap, Kline, Liquidation, OpenInterest
from schemas.instruments import Instrument
from schemas.time import DAY, MINUTE
from tests.conftest import Stack
from tests.consuming import consuming, dead_letters, new_symbol, now, publish, trade, until_health, until_rows


async def test_each_kind_of_event_becomes_the_row_it_describes(stack: Stack, nats: Client) -> None:
    symbol, at = new_symbol(), now()
    head = ("binance", symbol, at, at + 5)
    sent = [
        trade(symbol, 1, fills=3),
        Liquidation(*head, "l1", "long", 100.0, 2.0, 200.0, "sampled"),
        Book(*head, 7, [(99.0, 1.0), (98.0, 2.0)], [(101.0, 3.0)]),
        Kline(*head, "1m", 1.0, 3.0, 0.5, 2.0, 10.0, 20.0, None, "ws"),
        OpenInterest(*head, 5.0, None),
        Funding(*head, 0.0001, 8.0, at + DAY, 100.5, None),
        Gap(*head, "trades", None, "9", at, at + 10, "reconnect", "open", 9, 0, "ids", at + 20),
    ]
    async with consuming(stack, nats):
        await publish(nats, *sent)
        for event in sent:
            await until_rows(stack, 1, names.WORD[events.kind(event)].channel, symbol)
    for event in sent:
        table = names.WORD[events.kind(event)].channel
        if isinstance(event, Book):
            wanted = (7, 99.0, 2.0, 101.0, 3.0)
            columns = "sequence, bids[1][1], bids[2][2], asks[1][1], asks[2][1]"
        else:
            fields = msgspec.structs.asdict(event)
            wanted = tuple(fields.values())
            columns = ", ".join(
                f"{name}::long" if isinstance(value, int) and ("time" in name or name in _TIMES) else name
                for name, value in fields.items()
            )
        assert await query(stack.questdb_pg, f"SELECT {columns} FROM {table} WHERE symbol = $1", symbol) == [wanted]


_TIMES = {"received", "updated", "next_funding"}


async def test_two_producers_that_cut_their_messages_differently_make_one_row_each(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    first = [trade(symbol, number) for number in range(300)]
    second = [msgspec.structs.replace(one, received=one.received + 3) for one in first]
    async with consuming(stack, nats, "trades") as health:
        await publish(nats, *first[:100], first[100:250], first[250:])
        await publish(nats, second[:70], *second[70:80], second[80:])
        await until_health(health, "trades", rows=300, duplicates=300, conflicts=0, lag=0)
        await until_rows(stack, 300, "trades", symbol)
    found = await query(
        stack.questdb_pg,
        "SELECT count(), count_distinct(trade_id), sum(quantity) FROM trades WHERE symbol = $1",
        symbol,
    )
    assert found == [(300, 300, 150.0)]


async def test_a_copy_that_disagrees_is_counted_and_the_first_is_kept(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades") as health:
        await publish(nats, trade(symbol, 1, price=100.0))
        await publish(nats, trade(symbol, 1, price=101.0))
        await until_health(health, "trades", rows=1, duplicates=1, conflicts=1)
        await until_rows(stack, 1, "trades", symbol)
    assert await query(stack.questdb_pg, "SELECT price FROM trades WHERE symbol = $1", symbol) == [(100.0,)]


async def test_an_older_revision_never_overwrites_a_newer_one_even_after_a_restart(stack: Stack, nats: Client) -> None:
    symbol, at = new_symbol(), now()

    def kline(revision: int, close: float, received: int = 0) -> Kline:
        return Kline("binance", symbol, at, at + received, "1m", 1.0, 9.0, 0.5, close, 1.0, 1.0, 1, "ws", revision)

    async with consuming(stack, nats, "klines") as health:
        await publish(nats, kline(0, 2.0), kline(2, 4.0), kline(1, 3.0), kline(2, 5.0, received=1), kline(2, 4.5))
        await until_health(health, "klines", lag=0)
        await until_rows(stack, 1, "klines", symbol)
    async with consuming(stack, nats, "klines") as health:
        await publish(nats, kline(0, 2.0, received=9), kline(1, 3.0, received=9))
        await until_health(health, "klines", rows=0, duplicates=2)
    found = await query(stack.questdb_pg, "SELECT close, revision FROM klines WHERE symbol = $1", symbol)
    assert found == [(5.0, 2)]


async def test_a_gap_has_one_row_with_its_latest_state(stack: Stack, nats: Client) -> None:
    symbol, at = new_symbol(), now()

    def gap(status: str, filled: int, updated: int, revision: int) -> Gap:
        ids = ("trades", None, None, at, at + 10)
        return Gap("binance", symbol, at, at, *ids, "reconnect", status, 9, filled, "ids", at + updated, revision)

    async with consuming(stack, nats, "gaps") as health:
        await publish(nats, gap("open", 0, 0, 0), gap("filled", 9, 5, 1), gap("partial", 4, 3, 1), gap("open", 0, 9, 0))
        await until_health(health, "gaps", duplicates=2)
        await until_rows(stack, 1, "gaps", symbol)
    assert await query(stack.questdb_pg, "SELECT status, filled FROM gaps WHERE symbol = $1", symbol) == [("filled", 9)]


async def test_the_first_snapshot_of_a_slot_wins_even_after_a_restart(stack: Stack, nats: Client) -> None:
    symbol, at = new_symbol(), now()
    for price in (100.0, 200.0):
        async with consuming(stack, nats, "books", "open_interest") as health:
            await publish(nats, Book("binance", symbol, at, at, 1, [(price, 1.0)], []))
            await publish(nats, OpenInterest("binance", symbol, at, at, price))
            seen = {"rows": 1} if price == 100.0 else {"duplicates": 1}
            await until_health(health, "books", **seen)
            await until_health(health, "open_interest", **seen)
            await until_rows(stack, 1, "books", symbol)
            await until_rows(stack, 1, "open_interest", symbol)
    assert await query(stack.questdb_pg, "SELECT bids[1][1] FROM books WHERE symbol = $1", symbol) == [(100.0,)]
    assert await query(stack.questdb_pg, "SELECT open_interest FROM open_interest WHERE symbol = $1", symbol) == [
        (100.0,)
    ]


POISON = {
    b"": "does not decode",
    b"not json": "does not decode",
    b"\xff\xfe\x00": "does not decode",
    b'{"kind":"trade","exchange":"binance"}': "does not decode",
    b"[" * 100_000: "does not decode",
    b'{"a":1e400}': "does not decode",
}
UNFIT = {
    "exchange, symbol or interval": {"symbol": "OTHER-USDT"},
    "must be positive": {"price": 0.0},
    "positive": {"quantity": -1.0},
    "impossible timestamp": {"timestamp": 1},
    "out of bounds": {"fills": 2**70},
    "trade_id": {"trade_id": "9" * 5000},
}


async def test_poison_becomes_dead_letters_with_a_reason_and_everything_around_it_is_stored(
    stack: Stack, nats: Client
) -> None:
    symbol = new_symbol()
    subject = names.subject("trade", "binance", symbol)
    jetstream = nats.jetstream()
    async with consuming(stack, nats, "trades") as health:
        for number, data in enumerate(POISON):
            await jetstream.publish(subject, data)
            await publish(nats, trade(symbol, number))
        for number, fields in enumerate(UNFIT.values(), start=100):
            bad = events.encode(msgspec.structs.replace(trade(symbol, 1000 + number), **fields))
            lines = [events.encode(trade(symbol, number)), bad, b"garbage", events.encode(trade(symbol, number + 100))]
            await jetstream.publish(subject, b"\n".join(lines))
        good, bad_count = len(POISON) + 2 * len(UNFIT), len(POISON) + 2 * len(UNFIT)
        await until_health(health, "trades", rows=good, dead=bad_count)
        await until_rows(stack, good, "trades", symbol)
    letters = await dead_letters(nats)
    assert len(letters) == bad_count
    assert {subject for subject, *_ in letters} == {"md.dead.trade.binance"}
    for data, reason in POISON.items():
        assert any(data == body and said.startswith(reason) for _, body, said in letters), data[:20]
    for reason in UNFIT:
        assert any(reason in said for *_, said in letters), reason


@pytest.mark.parametrize("subject", ["md.trade.binance", "md.trade.BINANCE.BTC-USDT", "md.trade.binance.btc-usdt"])
async def test_a_subject_outside_the_rules_stops_nothing(stack: Stack, nats: Client, subject: str) -> None:
    symbol = new_symbol()
    exchange, named = ((*subject.split("."), "")[2:4]) if subject.count(".") == 3 else ("binance", "")
    async with consuming(stack, nats, "trades") as health:
        await publish(nats, trade(named or symbol, 1, exchange=exchange), subject=subject)
        await publish(nats, trade(symbol, 2))
        await until_health(health, "trades", rows=1, lag=0)
    # three tokens are not among the subjects a table reads at all
    assert len(await dead_letters(nats)) == subject.count(".") - 2


async def test_rows_older_than_the_ttl_are_counted_as_expired(stack: Stack, nats: Client) -> None:
    symbol = new_symbol()
    async with consuming(stack, nats, "trades") as health:
        await publish(nats, trade(symbol, 1))
        await until_health(health, "trades", rows=1)
        await publish(nats, [trade(symbol, 2), trade(symbol, 3, timestamp=now() - 16 * DAY)])
        await until_health(health, "trades", rows=2, expired=1, dead=0)
        await until_rows(stack, 2, "trades", symbol)


async def test_a_row_questdb_refuses_is_named_and_the_rest_of_its_batch_is_stored(stack: Stack, nats: Client) -> None:
    symbol, at = new_symbol(), now()
    head = ("binance", symbol, at, at, "trades")
    filled = {number: 2**40 if number in (3, 77) else number for number in range(100)}
    batch = [  # the ids hold line ends, which QuestDB counts as lines
        Gap(*head, f"{number}\n", None, at, at, "x", "open", None, count, "ids", at) for number, count in filled.items()
    ]
    await query(stack.questdb_pg, "ALTER TABLE gaps ALTER COLUMN filled TYPE INT")
    try:
        async with consuming(stack, nats, "gaps") as health:
            await publish(nats, batch)
            await until_health(health, "gaps", rows=98, dead=2, lag=0)
            await until_rows(stack, 98, "gaps", symbol)
    finally:
        await query(stack.questdb_pg, "ALTER TABLE gaps ALTER COLUMN filled TYPE LONG")
    letters = await dead_letters(nats)
    assert {events.decode_any(body).from_id for _, body, _ in letters} == {"3\n", "77\n"}
    assert all("filled" in reason for *_, reason in letters)


async def test_every_version_of_an_instrument_becomes_a_row_and_a_deleted_key_stops_nothing(
    stack: Stack, nats: Client
) -> None:
    symbol, at = new_symbol(), now()
    bucket = await nats.jetstream().key_value(names.BUCKET_INSTRUMENTS)
    version = Instrument("binance", symbol, "TEST", "T", "USDT", "USDT", "spot", row=0.5, valid_from=at)
    async with consuming(stack, nats, "instruments"):
        await bucket.put(f"binance.{symbol}", instruments.encode(version))
        later = msgspec.structs.replace(version, row=5.0, valid_from=at + MINUTE)
        await bucket.put(f"binance.{symbol}", instruments.encode(later))
        await bucket.delete(f"binance.{symbol}")
        await until_rows(stack, 2, "instruments", symbol)
    found = await query(
        stack.questdb_pg, 'SELECT "row", valid_from::long FROM instruments WHERE symbol = $1 ORDER BY timestamp', symbol
    )
    assert found == [(0.5, at), (5.0, at + MINUTE)]
    assert not await dead_letters(nats)
