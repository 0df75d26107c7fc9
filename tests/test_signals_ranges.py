"""Nodes, other value areas, coarser candles, any range: against plain sums, polars and wickra."""

from __future__ import annotations

import itertools
from fractions import Fraction

import msgspec
import numpy as np
import polars as pl
import pytest
import redis.asyncio as aioredis
import wickra
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from benchmarks.kernel import FIRST_TIME, columns
from benchmarks.kernel import core_of as engine
from schemas import time
from schemas.candles import FootprintCandle, decode
from schemas.events import Clock, decode_any
from schemas.settings import ImbalanceSettings, ProfileSettings, SignalsSettings, UnfinishedSettings
from signals._layout import CVD, DAY, FIRST, LAST, ROW, SHIFT, START, Columns
from signals._partition import Part, parse
from signals._shape import Band, shape
from signals._window import Rows, Window, frame_of, joined
from signals.coarser import coarser
from signals.imbalance import BUYERS, SELLERS, imbalances
from signals.nodes import HIGH, LOW, nodes
from signals.ranges import Series, combined, plan, profile
from signals.value_area import value_area
from tests import oracle
from tests.conftest import Stack
from tests.signal_streams import MIDNIGHT, Machine, messages, reference, stream
from tests.test_recordings import FRAMES, decoded

GOLDEN = {105: (6, 0), 104: (30, 2), 103: (24, 5), 102: (12, 8), 101: (1, 3), 100: (0, 9)}


def _sides(levels: dict[int, tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    rows = [levels.get(price, (0, 0)) for price in range(min(levels), max(levels) + 1)]
    return np.array([buy for buy, _ in rows]), np.array([sell for _, sell in rows])


def _found(levels: dict[int, tuple[int, int]], **options) -> tuple[list[int], list[int]]:
    """Prices with a buy imbalance, and with a sell imbalance."""
    buy, sell = _sides(levels)
    marks = np.zeros(len(buy), np.uint8)
    assert imbalances(buy, sell, len(buy), marks, **options) == sum(map(int.bit_count, marks.tolist()))
    prices = min(levels) + np.arange(len(buy))
    return prices[(marks & BUYERS) > 0].tolist(), prices[(marks & SELLERS) > 0].tolist()


def _area(volumes: dict[int, int], **options) -> tuple[int, int]:
    buy, sell = _sides({price: (volume, 0) for price, volume in volumes.items()})
    _, low, high = value_area(buy, sell, len(buy), **options)
    return min(volumes) + low, min(volumes) + high


def test_the_worked_candle_under_other_rules() -> None:
    assert _found(GOLDEN) == ([102, 104], [100])
    assert _found(GOLDEN, inclusive=True) == ([102, 103, 104, 105], [100])
    assert _found(GOLDEN, percent=150) == ([102, 103, 104, 105], [100])
    assert _found(GOLDEN, minimum=12) == ([104], [])
    assert _found(GOLDEN, zero=True) == ([102, 104], [100])
    assert _found(GOLDEN, horizontal=True) == ([103, 104], [])
    gap = {10: (0, 1), 12: (5, 0)}
    assert _found(gap) == ([], [])
    assert _found(gap, traded=True) == ([12], [])


def test_the_value_area_by_single_rows_and_of_other_shares() -> None:
    mixed = {5: 40, 6: 20, 7: 1, 8: 10, 4: 15, 3: 14}
    assert (_area(mixed), _area(mixed, rows=1)) == ((3, 7), (4, 6))
    amibroker = {106: 150, 107: 90, 108: 80, 109: 50, 105: 70, 104: 60, 103: 30, 102: 24}
    assert (_area(amibroker), _area(amibroker, rows=1)) == ((104, 108), (105, 108))
    assert _area(amibroker, share=40) == (106, 108)


def _nodes(volumes: list[int], **options) -> tuple[list[int], list[int]]:
    marks = np.zeros(len(volumes), np.uint8)
    nodes(np.array(volumes), np.zeros(len(volumes), np.int64), len(volumes), marks, **options)
    return np.flatnonzero(marks == HIGH).tolist(), np.flatnonzero(marks == LOW).tolist()


def test_nodes_stand_out_among_so_many_rows_and_each_option_tells() -> None:
    hills = [1, 2, 9, 2, 3, 2, 1, 2, 8, 8, 8, 2, 1]
    assert _nodes(hills, around=1) == ([2, 4, 9], [3, 6])
    assert _nodes(hills, around=2) == ([2, 9], [6])
    assert _nodes(hills, around=1, prominence=50) == ([2, 9], [6])
    assert _nodes(hills, around=1, smooth=True) == ([3, 9], [6])
    assert _nodes([9, 1, 9], around=2) == ([], [])
    assert _nodes([], around=1) == ([], [])


@pytest.mark.parametrize("seed", range(20))
def test_single_rows_and_control_equal_those_of_wickra(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 50))
    volume = rng.permutation(1_000)[:count]
    # One candle a row, and one without volume that spans them all, so that each row is a bin.
    at = np.arange(count, dtype=float)
    high, low = np.append(at, count - 0.5), np.append(at, -0.5)
    theirs = list(wickra.ValueArea(count + 1, count, 0.7).batch(high, low, np.append(volume, 0.0))[count])
    control, bottom, top = value_area(volume, np.zeros(count, np.int64), count, 70, 1)
    assert [theirs[0], theirs[1] - 0.5, theirs[2] + 0.5] == [control, top, bottom]  # theirs are outer edges


def test_cvd_equals_that_of_wickra() -> None:
    tape = columns(50_000, 1, 3 * time.MINUTE)
    core = engine(1)
    core.engine.apply(tape)
    theirs = wickra.CumulativeVolumeDelta()
    running = [theirs.update(p, q, not s) for p, q, s in zip(tape.price, tape.quantity, tape.is_sell, strict=True)]
    minute = core.state.spans.minute
    for candle in core.ledger.between(0, minute, 0, 2**62):
        last = np.searchsorted(tape.timestamp, candle.timestamp + time.MINUTE) - 1
        assert candle.meta[CVD] / 1e5 == pytest.approx(running[last], rel=1e-9)


def _grouped(tape: Columns, slot: int, row: float) -> pl.DataFrame:
    return (
        pl.DataFrame({"t": tape.timestamp, "p": tape.price, "q": tape.quantity, "sell": tape.is_sell, "s": tape.slot})
        .filter(pl.col("s") == slot)
        .with_columns(
            start=pl.col("t") - pl.col("t") % time.MINUTE,
            row=((pl.col("p") * 100).round().cast(pl.Int64) // round(row * 100)),
            lots=(pl.col("q") * 1e5).round().cast(pl.Int64),
        )
        .group_by("start", "row")
        .agg(
            buy=pl.col("lots").filter(~pl.col("sell")).sum(),
            sell=pl.col("lots").filter(pl.col("sell")).sum(),
        )
    )


def test_footprints_and_profiles_of_a_million_trades_equal_polars() -> None:
    tape = columns(1_000_000, 3, 10 * time.MINUTE)
    core = engine(3)
    for at in range(0, len(tape.slot), 50_000):
        core.engine.apply(Columns._make(column[at : at + 50_000].copy() for column in tape))
    core.engine.apply(_end(tape))
    minute, compared = core.state.spans.minute, 0
    for slot in range(3):
        kept = core.ledger.between(slot, minute, 0, 2**62)
        row = kept[0].meta[ROW] / 100
        wanted = {(start, at): (buy, sell) for start, at, buy, sell in _grouped(tape, slot, row).iter_rows()}
        total: dict[int, tuple[int, int]] = {}
        for candle in kept:
            assert candle.meta[SHIFT] == 0
            for n, at in enumerate(range(int(candle.meta[FIRST]), int(candle.meta[LAST]) + 1)):
                sides = int(candle.buy[n]), int(candle.sell[n])
                assert wanted.pop((int(candle.meta[START]), at), (0, 0)) == sides
                before = total.get(at, (0, 0))
                total[at] = before[0] + sides[0], before[1] + sides[1]
                compared += 1
        assert wanted == {}
        bands = [Band(row, np.arange(c.meta[FIRST], c.meta[LAST] + 1) * row, c.buy / 1e5, c.sell / 1e5) for c in kept]
        whole = combined("x", "A-B", 0, 1, bands)
        assert {round(p / row): (round(b * 1e5), round(s * 1e5))
                for p, b, s in zip(whole.prices, whole.buys, whole.sells, strict=True) if b or s} == {
            at: sides for at, sides in total.items() if any(sides)}  # fmt: skip
    assert compared > 100


def _end(tape: Columns) -> Columns:
    """A clock event late enough to close every minute."""
    last = Columns._make(column[-1:].copy() for column in tape)
    return last._replace(slot=np.array([-1]), timestamp=np.array([FIRST_TIME + 12 * time.MINUTE]))


def _candle() -> FootprintCandle:
    machine = Machine()
    machine.feed(messages(stream(3, 900, wild=False), 3))
    texts = machine.keys()[b"footprint:one:A-B:1m:closed"].values()
    return max(map(decode, texts), key=lambda one: len(one.prices))


def test_a_coarser_candle_is_what_its_row_would_have_given_from_the_start() -> None:
    fine = _candle()
    assert coarser(fine, fine.row).prices == fine.prices
    wide = coarser(fine, 4 * fine.row)
    rows: dict[Fraction, list[Fraction]] = {}
    for price, buy, sell in zip(fine.prices, fine.buys, fine.sells, strict=True):
        edge = Fraction(str(price)) // Fraction(str(wide.row)) * Fraction(str(wide.row))
        sides = rows.setdefault(edge, [Fraction(0), Fraction(0)])
        sides[0] += Fraction(str(buy))
        sides[1] += Fraction(str(sell))
    assert [Fraction(str(price)) for price in wide.prices] == sorted(rows)
    assert [(Fraction(str(b)), Fraction(str(s))) for b, s in zip(wide.buys, wide.sells, strict=True)] == [
        tuple(rows[edge]) for edge in sorted(rows)
    ]
    area = oracle.value_area([round((b + s) * 1000) for b, s in zip(wide.buys, wide.sells, strict=True)])
    assert area is not None
    assert (wide.poc, wide.val, wide.vah) == tuple(wide.prices[row] for row in area)
    with pytest.raises(ValueError, match="cannot be made"):
        coarser(fine, 1.5 * fine.row)


def test_a_coarser_candle_follows_the_options() -> None:
    fine = _candle()
    assert coarser(fine, fine.row).imbalances == fine.imbalances
    loose = SignalsSettings(
        imbalance=ImbalanceSettings(ratio=101, stack=2), unfinished=UnfinishedSettings(buy=1e9, sell=1e9)
    )
    other = coarser(fine, fine.row, loose)
    assert len(other.imbalances) > len(fine.imbalances)
    assert not other.unfinished.high
    assert coarser(fine, fine.row, SignalsSettings(profile=ProfileSettings(value_area=20))).vah < fine.vah


@trying(deadline=None)
@given(st.integers(0, 3_000), st.integers(1, 3_000), st.lists(st.integers(0, 3_000), min_size=6, max_size=6))
def test_a_plan_covers_every_minute_of_a_range_once(begin: int, span: int, ends: list[int]) -> None:
    begin, end = begin * time.MINUTE, (begin + span) * time.MINUTE
    lengths = [time.MINUTE, time.HOUR, 4 * time.HOUR]
    series = []
    for n, length in enumerate(lengths):
        since, until = sorted(at * time.MINUTE // length * length for at in ends[2 * n : 2 * n + 2])
        if since < until:
            series.append(Series(length, since, until))
    taken, left = plan(begin, end, series)
    pieces = sorted([span for _, span in taken] + left)
    assert pieces[0][0] == begin
    assert pieces[-1][1] == end
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
    assert all(first % length == last % length == 0 for length, (first, last) in taken)


def test_rows_of_different_heights_meet_on_the_least_that_all_divide() -> None:
    fine = Band(0.2, np.array([10.0, 10.2, 10.4]), np.array([1.0, 2.0, 3.0]), np.zeros(3))
    wide = Band(0.5, np.array([10.0]), np.array([0.25]), np.array([0.5]))
    made = shape([fine, wide])
    assert made is not None
    assert (float(made.row), made.sizes(made.buy), made.sizes(made.sell)) == (1.0, [6.25], [0.5])
    assert shape([fine], 0.4) is not None
    with pytest.raises(ValueError, match="cannot be made"):
        shape([fine, wide], 0.5)
    assert shape([]) is None


@pytest.mark.skipif(not FRAMES.is_dir(), reason="not run: the recorded frames are not here")
@pytest.mark.parametrize(("exchange", "folder"), [("binance", "binance_spot"), ("binance_futures", "binance_usdm")])
def test_footprints_of_recorded_trades_equal_polars(exchange: str, folder: str) -> None:
    machine, made = Machine(know=False), []
    for path in sorted((FRAMES / folder).glob("*.jsonl")):
        _, events, _ = decoded(exchange, path)
        made += [decode_any(msgspec.json.encode(event)) for event in events if event["kind"] == "trade"]
    made.sort(key=lambda one: one.timestamp)
    ends = Clock(exchange, made[-1].timestamp + 2 * time.DAY, made[-1].timestamp + 2 * time.DAY)
    machine.feed(messages([*made, ends], together=0.0))
    table = pl.DataFrame([msgspec.to_builtins(one) for one in made]).unique(["symbol", "trade_id", "timestamp"])
    compared = 0
    for name, members in machine.keys().items():
        if not name.endswith(b":1m:closed"):
            continue
        for candle in map(decode, members.values()):
            row = Fraction(str(candle.row))
            own = table.filter(
                (pl.col("symbol") == candle.symbol)
                & (pl.col("timestamp") // time.MINUTE * time.MINUTE == candle.timestamp)
            )
            at = [int(Fraction(str(price)) // row) for price in own["price"]]
            grouped = (
                own.with_columns(row=pl.Series(at))
                .group_by("row")
                .agg(
                    buy=pl.col("quantity").filter(~pl.col("is_buyer_maker")).sum(),
                    sell=pl.col("quantity").filter(pl.col("is_buyer_maker")).sum(),
                )
            )
            wanted = {at: (buy, sell) for at, buy, sell in grouped.iter_rows()}
            for price, buy, sell in zip(candle.prices, candle.buys, candle.sells, strict=True):
                found = wanted.pop(int(Fraction(str(price)) / row), (0.0, 0.0))
                assert (buy, sell) == pytest.approx(found, rel=1e-9)
                compared += 1
            assert wanted == {}
    assert compared >= 5


async def test_any_range_is_answered_from_redis_down_to_the_minute(stack: Stack) -> None:
    machine = Machine(late_horizon=3_600_000_000)
    batch = messages(stream(8, 4_000, start=MIDNIGHT - 20 * time.HOUR), 8)
    machine.feed(batch)
    truth, cache = reference(batch, machine), aioredis.Redis.from_url(stack.redis_url)
    for name, value in machine.keys().items():
        if isinstance(value, dict):
            await cache.zadd(name, {text: score for score, text in value.items()})
        else:
            await cache.set(name, value)
    try:
        for (exchange, name), symbol in truth.symbols.items():
            times = sorted(trade.timestamp for trade in symbol.applied)
            for first, last in ((0, -1), (len(times) // 3, len(times) // 2), (len(times) // 2, -1)):
                begin = times[first] // time.MINUTE * time.MINUTE
                end = times[last] // time.MINUTE * time.MINUTE + time.MINUTE
                found = await profile(cache, None, exchange, name, begin, end)
                own = [trade for trade in symbol.applied if begin <= trade.timestamp < end]
                assert round(found.buy * 1000) == sum(t.lots for t in own if not t.is_sell)
                assert round(found.sell * 1000) == sum(t.lots for t in own if t.is_sell)
    finally:
        await cache.flushdb()
        await cache.aclose()


@pytest.mark.parametrize("seed", range(5))
def test_minutes_of_any_rows_added_together_are_those_added_one_by_one(seed: int) -> None:
    machine = Machine()
    machine.feed(messages(stream(seed, 4_000), seed))
    core, frames = machine.core, set()
    for slot in range(len(core.state.symbols)):
        minutes = core.ledger.between(slot, core.state.spans.minute, 0, 2 * MIDNIGHT)
        window, rows = Window(DAY), Rows(joined(map(frame_of, minutes)))
        window.renew(minutes)
        for minute in minutes:
            rows.add(minute, 1)
        assert window.rows.frame == rows.frame
        assert _held(window.rows) == _held(rows)
        frames |= set(window.members.values())
    assert len(frames) > 3, "not run: all minutes have the same rows"


def _held(rows: Rows) -> dict[int, tuple[int, int]]:
    return {
        rows.first + n: (int(rows.buy[n]), int(rows.sell[n])) for n in np.flatnonzero(rows.buy + rows.sell).tolist()
    }


def test_every_symbol_has_one_owner_however_many_parts_there_are() -> None:
    names = [("binance", f"S{n}-USDT") for n in range(400)]
    for count in (1, 2, 3, 7):
        owners = [[n for n in range(1, count + 1) if Part(n, count).owns(*who)] for who in names]
        assert all(len(each) == 1 for each in owners)
        assert all(sum(each == [n] for each in owners) > 200 / count for n in range(1, count + 1))
    assert parse("2/4") == Part(2, 4)
    for wrong in ("", "0/4", "5/4", "2", "a/b", "1/999"):
        with pytest.raises(ValueError, match="not a part"):
            parse(wrong)


def test_two_parts_together_hold_what_one_engine_holds() -> None:
    batch = messages(stream(9, 1_200), 9)
    whole, parts = Machine(), [Machine(part=Part(n, 2)) for n in (1, 2)]
    for machine in (whole, *parts):
        machine.feed(batch)
    together = {name: text for machine in parts for name, text in machine.keys().items()}
    assert together.keys() == whole.keys().keys()
    assert sum(len(machine.core.state.symbols) for machine in parts) == len(whole.core.state.symbols)
    for name, value in whole.keys().items():
        if isinstance(value, dict):
            mine = {at: decode(text) for at, text in value.items()}
            theirs = {at: decode(text) for at, text in together[name].items()}
            for at in mine.keys() & theirs.keys():
                same = {"sequence": 0, "as_of": 0, "revision": 0}
                assert (
                    msgspec.structs.replace(mine[at], **same).buys == msgspec.structs.replace(theirs[at], **same).buys
                )
