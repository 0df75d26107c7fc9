"""What a gap's last state may claim: pages are read strictly, and every verdict names its evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.js.api import KeyValueConfig

from producers._budget import Budget
from producers._exchange import Options, Reach, Row, Setup, directory, load
from producers._feeds import HOLES_MAX, Feed, Feeds, Mark
from producers._holes import gaps
from producers._pages import ranges, read, text
from producers._run import LIVE
from producers._worker import Worker
from schemas.events import Gap
from schemas.instruments import Instrument
from schemas.settings import Duration, ExchangeSettings, Settings, TradesSettings
from tests.accounting import account, newest, of_log
from tests.filling import Venue
from tests.producing import NOW, nats_server, surroundings, trade, until


def _feed() -> Feed:
    return Feed("trades", "BTCUSDT", Instrument("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "USDT", "spot"))


def _pages(numbers: Iterable[int], size: int, *, newest_first: bool) -> Any:
    """A history of these ids in pages of ``size``, as one asks for it from beside the range."""
    known = sorted(numbers)

    async def ask(reach: Reach) -> list[Row]:
        if newest_first:
            found = [n for n in known if n <= reach.last + 1][-size:]
        else:
            found = [n for n in known if n >= reach.first - 1][:size]
        return [Row(n, NOW + n, []) for n in found]

    return ask


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("size", [2, 3, 7, 100])
async def test_only_ids_between_two_neighbours_are_proven_absent(size: int, newest_first: bool) -> None:
    known = [n for n in range(1, 31) if n not in (12, 13, 20)]
    it = await read(_pages(known, size, newest_first=newest_first), Reach(10, 24, 0, 0), newest_first=newest_first)
    assert set(it.rows) == set(range(10, 25)) - {12, 13, 20}
    assert (it.out, it.unknown) == ({12, 13, 20}, set())


@pytest.mark.parametrize("newest_first", [False, True])
async def test_ids_a_history_does_not_reach_are_unknown_and_never_called_absent(newest_first: bool) -> None:
    reach = Reach(10, 24, 0, 0)
    older = await read(_pages(range(15, 31), 4, newest_first=newest_first), reach, newest_first=newest_first)
    assert (older.out, older.unknown) == (set(), set(range(10, 15)))
    newer = await read(_pages(range(1, 20), 4, newest_first=newest_first), reach, newest_first=newest_first)
    assert (newer.out, newer.unknown) == (set(), set(range(20, 25)))
    empty = await read(_pages((), 4, newest_first=newest_first), reach, newest_first=newest_first)
    assert (empty.out, empty.unknown) == (set(), set(range(10, 25)))


def test_runs_of_ids_are_written_short() -> None:
    assert text(ranges({7, 5, 6, 9})) == "5-7 9"


def test_a_mark_never_passes_a_hole_that_was_not_told_of() -> None:
    feed = _feed()
    for number in (10, 11, 14, 15):
        feed.step(number, NOW + number, NOW)
    assert feed.mark() == Mark(11, NOW + 11, 0)
    feed.holes.popleft()
    assert feed.mark() == Mark(15, NOW + 15, 0)


def test_a_hole_is_told_of_after_a_second_even_where_the_clock_was_set_back_meanwhile() -> None:
    declared = load("binance")
    setup = Setup("binance", Feeds(directory(declared, "binance")), Options())
    feed = setup.feeds.channel("trades")["BTCUSDT"]
    for number in (10, 14, 15):
        feed.step(number, NOW + number, NOW)
    assert not list(gaps(setup, ("trades",), NOW + 999_999)), "it may still be late"
    (gap,) = gaps(setup, ("trades",), NOW - 3_600_000_000)
    assert (gap.from_id, gap.to_id, gap.status) == ("11", "13", "open")
    assert not list(gaps(setup, ("trades",), NOW + 9_000_000)), "it is told of once"


def test_an_earlier_life_is_continued_before_and_after_the_first_id() -> None:
    before, after = _feed(), _feed()
    before.resume(Mark(20, NOW, 1), NOW)
    for feed in (before, after):
        feed.step(25, NOW + 25, NOW)
    after.resume(Mark(20, NOW, 1), NOW)
    for feed in (before, after):
        assert [(hole.first, hole.last, hole.cause) for hole in feed.holes] == [(21, 24, "restart")]
        assert feed.epoch == 1


def test_an_id_reset_starts_a_new_epoch_and_no_gap() -> None:
    feed = _feed()
    feed.resume(Mark(5_000_000_000, NOW, 0), NOW)
    feed.step(1, NOW + 1, NOW)
    assert (feed.mark(), list(feed.holes)) == (Mark(1, NOW + 1, 1), [])


def test_more_holes_than_there_is_room_for_are_joined_and_none_is_lost() -> None:
    feed, ids = _feed(), range(0, 4 * HOLES_MAX, 2)
    for number in ids:
        feed.step(number, NOW + number, NOW)
    told = {n for hole in feed.holes for n in range(hole.first, hole.last + 1)}
    assert len(feed.holes) <= HOLES_MAX
    assert set(range(1, max(ids), 2)) <= told


def test_who_can_wait_leaves_a_part_of_the_budget_to_who_cannot(tmp_path: Path) -> None:
    budget = Budget(tmp_path, "host", 100, 60.0, lambda: NOW)
    assert [budget.take(10, share=0.7) for _ in range(3)] == [0.0] * 3
    assert budget.take(10, share=0.7) > 0.0
    assert [budget.take(10) for _ in range(2)] == [0.0] * 2
    assert budget.take(10) > 0.0


# --- verdicts of a whole producer ------------------------------------------------------------------------------
async def _verdict(venue: Venue, folder: Path) -> tuple[Gap, Any]:
    """The one gap's last state, and the account."""
    with nats_server(folder / "nats") as server:
        client = await server.connect()
        await server.streams(client)
        for bucket in ("instruments", "cursors"):
            await client.jetstream().create_key_value(KeyValueConfig(bucket))
        async with venue.open():
            urls = {"ws_url": f"ws://127.0.0.1:{venue.port}", "rest_url": f"http://127.0.0.1:{venue.port}"}
            its = ExchangeSettings(symbols=["BTC-USDT"], channels=["trades"], **urls)
            settings = Settings(
                data_dir=str(folder / "data"), exchanges={"binance": its}, trades=TradesSettings(backfill=Duration(0))
            )
            stop, health = asyncio.Event(), dict[str, Any]()
            around = surroundings("websockets", stop)
            worker = Worker("binance", LIVE, "produce", settings, client, around, health)
            task = asyncio.create_task(worker.run())
            ends = ("filled", "partial", "nonexistent", "unfillable")
            try:
                await until(lambda: sum(health.get("gaps", {}).get(end, 0) for end in ends) or task.done())
            except AssertionError as error:
                raise AssertionError(f"the gap was not closed: {health}") from error
            finally:
                stop.set()
                await task
        its_account = await of_log(client, "binance", "BTC-USDT")
        await client.close()
    (gap,) = its_account.gaps
    assert gap.revision >= 1
    assert (gap.from_id, gap.to_id, gap.cause) == ("3", "6", "skipped")
    return gap, its_account


SENT = [1, 2, 7, 8]


async def test_ids_the_exchange_never_gave_out_are_nonexistent_with_the_evidence(tmp_path) -> None:
    gap, its = await _verdict(Venue(SENT, SENT), tmp_path)
    assert (gap.status, gap.filled, gap.evidence) == ("nonexistent", 0, "read twice: 0 ids; never existed: 3-6")
    assert its.complete
    assert its.nonexistent == {3, 4, 5, 6}


async def test_a_gap_with_some_ids_that_never_existed_is_filled_and_names_them(tmp_path) -> None:
    gap, its = await _verdict(Venue(SENT, [*SENT, 4, 6]), tmp_path)
    assert (gap.status, gap.filled) == ("filled", 2)
    assert gap.evidence.endswith("never existed: 3 5")
    assert its.complete
    assert (its.stored, its.nonexistent) == ({1, 2, 4, 6, 7, 8}, {3, 5})


async def test_a_gap_older_than_the_history_in_part_is_partial_and_says_why(tmp_path) -> None:
    gap, its = await _verdict(Venue(SENT, [5, 6, 7, 8]), tmp_path)
    assert (gap.status, gap.filled) == ("partial", 2)
    assert gap.evidence == "2 ids unknown: the exchange's history does not reach these ids"
    assert (its.stored, its.named, its.unaccounted) == ({1, 2, 5, 6, 7, 8}, {3, 4}, set())


async def test_a_gap_the_exchange_will_not_speak_of_is_unfillable_with_its_answer(tmp_path) -> None:
    venue = Venue(SENT, SENT)
    venue.refuse = 400
    gap, its = await _verdict(venue, tmp_path)
    assert (gap.status, gap.filled) == ("unfillable", 0)
    assert "400" in gap.evidence
    assert (its.named, its.unaccounted) == ({3, 4, 5, 6}, set())


# --- the referee itself ----------------------------------------------------------------------------------------
def _gap(status: Any, revision: int = 0, evidence: str = "") -> Gap:
    return Gap("binance", "BTC-USDT", NOW, NOW, "trades", "7", "7", NOW, NOW, "skipped", status, 1, 0, evidence,
               NOW + revision, revision)  # fmt: skip


def test_the_checker_names_an_id_that_nobody_accounts_for() -> None:
    trades = [trade(n) for n in (5, 6, 8, 9)]
    its = account(trades, [], lambda it: int(it.trade_id))
    assert (its.first, its.last, its.unaccounted, its.complete) == (5, 9, {7}, False)
    claimed = account(trades, [_gap("open"), _gap("filled", 1, "read twice: 1 ids")], lambda it: int(it.trade_id))
    assert claimed.unaccounted == {7}, "a gap that claims to be filled accounts for nothing by itself"
    assert account(trades, [_gap("open")], lambda it: int(it.trade_id)).named == {7}


def test_the_newest_state_of_a_gap_counts_whatever_the_order() -> None:
    states = [_gap("filled", 2), _gap("open"), _gap("open", 1)]
    assert [gap.status for gap in newest(states)] == ["filled"]


def test_the_checker_refuses_two_trades_under_one_id() -> None:
    twice = [trade(5), msgspec.structs.replace(trade(5), price=1.0)]
    with pytest.raises(AssertionError, match="two trades under one id"):
        account(twice, [], lambda it: int(it.trade_id))
