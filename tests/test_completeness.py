"""The audit: what is missing is counted, and "nothing traded" is another answer than "we have none"."""

from __future__ import annotations

import asyncio
from itertools import accumulate

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from consumers import _completeness
from consumers._completeness import Audit, keep, store, summary
from consumers._questdb import Questdb, query
from consumers._verdict import Completeness, Count, Ids, Settled, Told, continuity, judge
from flowtape.audit import show
from schemas.events import Gap, Kline, Trade
from schemas.time import HOUR, MINUTE, floor
from tests.conftest import Stack
from tests.consuming import consuming, new_symbol, now, publish, trade, until, until_rows

HOURS = [n * HOUR for n in range(1, 6)]


def _row() -> Completeness:
    return Completeness("binance", "A-B", HOUR, 2 * HOUR, 0)


def _judged(count: Count | None = None, told: Told | None = None, settled: Settled | None = None) -> tuple:
    row = judge(_row(), count, told, settled or Settled())
    return row.verdict, row.percent, row.missing


def test_nothing_traded_and_we_have_none_are_different_answers() -> None:
    assert _judged() == ("unknown", None, None)
    assert _judged(Count(0, 0)) == ("quiet", 100.0, 0)
    assert _judged(told=Told(60, 60, 0, 0, 0.0, 0.0)) == ("quiet", 100.0, 0)
    assert _judged(told=Told(60, 0, 0, 0, 0.0, 0.0)) == ("quiet", 100.0, None)
    assert _judged(told=Told(60, 60, 50, 0, 5.0, 0.0)) == ("missing", 0.0, 50)
    assert _judged(Count(None, 0)) == ("missing", 0.0, None)


def test_the_worst_detector_decides() -> None:
    assert _judged(Count(100, 100), Told(60, 60, 100, 100, 7.0, 7.0)) == ("complete", 100.0, 0)
    assert _judged(Count(100, 100), Told(60, 60, 100, 90, 7.0, 7.0)) == ("missing", 90.0, 0)
    assert _judged(Count(100, 100), Told(60, 0, 0, 0, 8.0, 6.0)) == ("missing", 75.0, 0)
    assert _judged(Count(100, 50), Told(60, 60, 100, 100, 7.0, 7.0)) == ("missing", 50.0, 50)
    assert _judged(Count(100, 100), Told(60, 60, 99, 100, 7.0, 7.0))[0] == "surplus"


def test_ids_that_never_existed_are_not_missing_and_one_of_a_million_is() -> None:
    assert _judged(Count(100, 90), settled=Settled(10, 0)) == ("complete", 100.0, 0)
    assert _judged(Count(100, 80), settled=Settled(10, 10))[0] == "missing"
    verdict, percent, missing = _judged(Count(1_000_000, 999_999))
    assert (verdict, missing) == ("missing", 1)
    assert percent is not None
    assert percent < 100.0


@given(
    st.lists(st.integers(0, 9), min_size=5, max_size=5), st.lists(st.booleans(), min_size=45, max_size=45),
    st.booleans(),
)  # fmt: skip
def test_over_all_hours_every_id_between_the_first_and_the_last_is_expected_once(
    sizes: list[int], kept: list[bool], preceded: bool
) -> None:
    ends = list(accumulate(sizes, initial=100))
    held = {}
    for hour, first, end in zip(HOURS, ends, ends[1:], strict=False):
        ids = [n for n in range(first, end) if kept[n - 100]]
        if ids:
            held[hour] = Ids(len(ids), ids[0], ids[-1])
    counts = continuity(HOURS, held, 99 if preceded else None)
    if not held:
        assert not counts
        return
    first = 100 if preceded else min(ids.first for ids in held.values())
    last = max(ids.last for ids in held.values())
    assert sum(count.expected or 0 for count in counts.values()) == last - first + 1
    assert sum(count.present for count in counts.values()) == sum(ids.present for ids in held.values())
    for hour, count in counts.items():
        assert count.expected is None or count.expected >= count.present
        assert count.present == (held[hour].present if hour in held else 0)


def test_an_empty_hour_is_quiet_where_ids_go_on_and_missing_where_they_jump() -> None:
    quiet = continuity(HOURS[:3], {HOURS[0]: Ids(10, 1, 10), HOURS[2]: Ids(5, 11, 15)}, None)
    assert quiet[HOURS[1]] == Count(0, 0)
    jumped = continuity(HOURS[:4], {HOURS[0]: Ids(10, 1, 10), HOURS[3]: Ids(5, 31, 35)}, None)
    assert (jumped[HOURS[1]], jumped[HOURS[2]], jumped[HOURS[3]]) == (Count(20, 0), Count(None, 0), Count(5, 5))
    assert HOURS[4] not in continuity(HOURS, {HOURS[0]: Ids(10, 1, 10)}, None), "nothing shows what came later"


def test_numbers_that_cross_an_hour_are_missing_in_neither() -> None:
    counts = continuity(HOURS[:2], {HOURS[0]: Ids(10, 1, 11), HOURS[1]: Ids(10, 10, 20)}, None)
    assert all(count.expected == count.present for count in counts.values())


def test_a_numbering_that_starts_over_is_no_hole() -> None:
    counts = continuity(HOURS[:2], {HOURS[0]: Ids(10, 5_000_001, 5_000_010), HOURS[1]: Ids(10, 1, 10)}, None)
    assert counts == {HOURS[0]: Count(10, 10), HOURS[1]: Count(10, 10)}


# --- with tables -------------------------------------------------------------------------------------------------
START = floor(now(), HOUR) - 5 * HOUR
PER_MINUTE = 3


def _trades(exchange: str, symbol: str, hours: int) -> list[Trade]:
    times = range(START, START + hours * HOUR, MINUTE // PER_MINUTE)
    return [trade(symbol, n, exchange=exchange, timestamp=at, received=at) for n, at in enumerate(times)]


def _klines(trades: list[Trade], minutes: range, *, counted: bool) -> list[Kline]:
    """1m candles of these trades; minutes without one are told as empty."""
    made = []
    for at in minutes:
        its = [t for t in trades if at <= t.timestamp < at + MINUTE]
        made.append(
            Kline(
                trades[0].exchange, trades[0].symbol, at, at + MINUTE, "1m", 1.0, 1.0, 1.0, 1.0,
                sum(t.quantity for t in its), 1.0, len(its) if counted else None, "ws",
            )
        )  # fmt: skip
    return made


async def _audited(stack: Stack, symbol: str, hours: int) -> list[Completeness]:
    questdb = Questdb(stack.questdb_pg)
    try:
        rows = await Audit(stack.settings, questdb).run(START, START + hours * HOUR, now() + HOUR)
    finally:
        await questdb.close()
    return [row for row in rows if row.symbol == symbol]


@pytest.fixture
async def holed(stack: Stack, nats: Client) -> str:
    """Four hours of OKX: the first whole, ids lost in the second, the third lost whole, the fourth whole."""
    symbol = new_symbol()
    trades = _trades("okx", symbol, 4)
    lost = range(START + 2 * HOUR, START + 3 * HOUR)
    kept = [t for n, t in enumerate(trades) if t.timestamp not in lost and not 200 <= n < 209]
    gap = Gap(
        "okx", symbol, trades[200].timestamp, now(), "trades", "200", "202", trades[200].timestamp,
        trades[202].timestamp, "skipped", "nonexistent", 3, 0, "never existed: 200-202", now(),
    )  # fmt: skip
    async with consuming(stack, nats, "trades", "klines", "gaps"):
        await publish(nats, kept, gap, subject="")
        minutes = range(START, START + 3 * HOUR, MINUTE)
        klines = _klines(trades, minutes, counted=False)
        await publish(nats, [k for k in klines if k.timestamp >= START + 2 * HOUR])
        await until_rows(stack, len(kept), "trades", symbol)
        await until_rows(stack, 60, "klines", symbol)
        await until_rows(stack, 1, "gaps", symbol)

    async def viewed() -> bool:
        found = await query(stack.questdb_pg, "SELECT count() FROM trades_OHLC_1h WHERE symbol = $1", symbol)
        return bool(found[0][0] >= 3)

    await until(viewed, "the view of hours")
    return symbol


async def test_hours_are_compared_with_ids_candles_and_settled_gaps(stack: Stack, holed: str) -> None:
    rows = await _audited(stack, holed, 4)
    per_hour = 60 * PER_MINUTE
    assert [(row.verdict, row.evidence) for row in rows] == [
        ("complete", "ids"), ("missing", "ids"), ("missing", "ids+volume"), ("complete", "ids"),
    ]  # fmt: skip
    first, second, third, fourth = rows
    assert (first.expected, first.present, first.percent) == (per_hour, per_hour, 100.0)
    assert (second.expected, second.present, second.nonexistent, second.missing) == (per_hour, per_hour - 9, 3, 6)
    assert second.percent == pytest.approx(100 * (per_hour - 9) / (per_hour - 3))
    assert (third.expected, third.present, third.missing, third.percent) == (per_hour, 0, per_hour, 0.0)
    assert (third.candles, third.volume, third.candle_volume) == (60, 0.0, 0.5 * per_hour)
    assert (fourth.missing, fourth.percent) == (0, 100.0)


async def test_without_ids_candles_tell_a_quiet_hour_from_a_lost_one_and_no_candles_tell_nothing(
    stack: Stack, nats: Client
) -> None:
    symbol = new_symbol()
    trades = _trades("bybit", symbol, 3)
    traded = [t for t in trades if not START + HOUR <= t.timestamp < START + 2 * HOUR]
    kept = [t for t in traded if t.timestamp < START + HOUR]
    begun = trade(symbol, 1, exchange="bybit", timestamp=START - HOUR, received=START - HOUR)
    async with consuming(stack, nats, "trades", "klines"):
        await publish(nats, [begun, *kept])
        await publish(nats, _klines(traded, range(START, START + 3 * HOUR, MINUTE), counted=True))
        await until_rows(stack, len(kept) + 1, "trades", symbol)
        await until_rows(stack, 180, "klines", symbol)

    async def audited() -> list[Completeness]:
        rows = await _audited(stack, symbol, 4)
        return rows if len(rows) == 4 else []

    rows = await until(audited, "four hours")
    assert [(row.verdict, row.percent, row.missing) for row in rows] == [
        ("complete", 100.0, 0), ("quiet", 100.0, 0), ("missing", 0.0, 180), ("unknown", None, None),
    ]  # fmt: skip


async def test_a_first_hour_that_history_has_not_reached_yet_is_no_loss(stack: Stack, nats: Client) -> None:
    ahead, behind = new_symbol(), new_symbol()
    whole = {symbol: _trades("bitget", symbol, 2) for symbol in (ahead, behind)}
    reached = [t for t in whole[behind] if t.timestamp > START + 2 * MINUTE]
    async with consuming(stack, nats, "trades", "klines"):
        await publish(nats, whole[ahead], reached)
        for trades in whole.values():
            await publish(nats, _klines(trades, range(START, START + 2 * HOUR, MINUTE), counted=True))
        await until_rows(stack, 118 * PER_MINUTE - 1, "trades", behind)
        await until_rows(stack, 120, "klines", behind)

    async def audited() -> list[Completeness]:
        rows = await _audited(stack, behind, 2)
        return rows if len(rows) == 2 else []

    rows = await until(audited, "two hours")
    assert [(row.verdict, row.evidence) for row in rows] == [("unknown", "none"), ("complete", "counts+volume")]
    assert [row.verdict for row in await _audited(stack, ahead, 2)] == ["complete", "complete"]


async def test_an_audit_again_replaces_its_row_and_the_worst_are_told(stack: Stack, holed: str) -> None:
    rows = await _audited(stack, holed, 4)
    store(stack.settings, rows)
    rows[1] = msgspec.structs.replace(rows[1], percent=12.5)
    store(stack.settings, rows)

    async def stored() -> bool:
        sql = "SELECT percent, verdict, missing FROM completeness WHERE symbol = $1 ORDER BY timestamp"
        found = await query(stack.questdb_pg, sql, holed)
        return [row[0] for row in found] == [100.0, 12.5, 0.0, 100.0] and found[1][1:] == ("missing", 6)

    await until(stored, "four rows")
    told = summary(rows[:3], START + 3 * HOUR)
    assert told == {
        "hour": START + 2 * HOUR, "symbols": 1, "percent": 0.0, "verdicts": {"missing": 1},
        "worst": {f"okx:{holed}": 0.0},
    }  # fmt: skip


async def test_the_consumer_audits_by_itself_and_judges_nothing_it_has_yet_to_write(
    stack: Stack, holed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_completeness, "FIRST_S", 0.0)
    end = START + 3 * HOUR
    at = end + 2 * MINUTE
    for trades, last in (({"lag": 7, "held": "", "stored": end}, end - HOUR), ({"lag": 0, "held": ""}, end)):
        stop, health, questdb = asyncio.Event(), {}, Questdb(stack.questdb_pg)
        task = asyncio.create_task(keep(stack.settings, questdb, stop, health, trades, clock=lambda: at))

        async def newest(last: int = last) -> bool:
            sql = "SELECT max(timestamp)::long FROM completeness WHERE symbol = $1"
            return await query(stack.questdb_pg, sql, holed) == [(last,)]

        await until(newest, "the first round")
        stop.set()
        await task
        await questdb.close()
        assert health["completeness"]["as_of"] == at


async def test_the_command_prints_what_is_missing_and_says_so_by_its_exit_code(
    stack: Stack, holed: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert await show(stack.settings, ("okx",), START, START + 4 * HOUR, as_json=True) == 1
    hours = msgspec.json.decode(capsysbinary.readouterr().out)["hours"]
    assert {hour["exchange"] for hour in hours} == {"okx"}
    assert [hour["percent"] for hour in hours if hour["symbol"] == holed][2] == 0.0
    assert await show(stack.settings, ("okx",), START, START + 4 * HOUR, as_json=False) == 1
    assert b"okx:" in capsysbinary.readouterr().out
