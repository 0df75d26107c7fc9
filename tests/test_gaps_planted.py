"""The referee itself, examined: a bug planted in one place of the real code makes the account fail, each time.

Every row of ``PLANTED`` is a mistake somebody could make. The course without a bug comes out complete; with one it does
not. ``docs/testing.md`` lists them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from consumers import _loop, _store
from consumers._questdb import QuestdbUnreachable
from producers import _cursors, _feeds, _fill, _lanes, _orphans, _outbox, _worker, binance
from producers._connection import Surroundings
from producers._outbox import Outbox
from producers._pages import Reading
from producers._run import LIVE
from producers._spool import Spool
from producers._worker import Worker
from schemas.events import Gap, Trade
from schemas.settings import Duration, ExchangeSettings, Settings, TradesSettings
from tests.accounting import Account, account, of_log, trades_of
from tests.conftest import Stack
from tests.consuming import consuming, new_symbol, publish, rows, until_rows
from tests.consuming import trade as row
from tests.filling import Venue, log_of_its_own
from tests.producing import FAST, NOW, nats_server, surroundings, trade, until

SETTLING_S_MAX = 4.0
"""A planted bug may keep a gap from ever being closed: it is not waited for beyond this."""
HOLED = (1, 2, 3, 8, 9, 7, 12, 13)
"""Sent while history refuses: 4 to 6 are missed (7 is only late), and 10 to 11."""
NEVER = {5}
AFTER = (20, 21, 22)
UNTOLD, LAST = (30, 33), (40, 41)
Plant = Callable[[pytest.MonkeyPatch], None]
Settled = Callable[[dict[str, Any]], bool]


def _quick(stop: asyncio.Event, *, frozen: bool = False) -> Surroundings:
    """Everything quick, the clock too; ``frozen``: no hole gets old enough to be told of."""
    began = time.monotonic()
    clock = (lambda: NOW) if frozen else lambda: NOW + int((time.monotonic() - began) * FAST * 1e6)
    return surroundings("websockets", stop)._replace(clock=clock)


class Course:
    """One exchange, one log, and the lives of a producer between them."""

    def __init__(self, nats: Client, venue: Venue, folder: Path) -> None:
        self.nats, self.venue = nats, venue
        urls = {"ws_url": f"ws://127.0.0.1:{venue.port}", "rest_url": f"http://127.0.0.1:{venue.port}"}
        its = ExchangeSettings(symbols=["BTC-USDT"], channels=["trades"], **urls)
        self._settings = Settings(
            data_dir=str(folder / "data"), exchanges={"binance": its}, trades=TradesSettings(backfill=Duration(0))
        )

    async def live(
        self, sent: Sequence[int], settled: Callable[[dict[str, Any]], bool], *, frozen: bool = False
    ) -> None:
        """A producer's life in which these are sent, until it is ``settled`` or cannot be expected to be any more."""
        self.venue.sent = sent
        stop, health = asyncio.Event(), dict[str, Any]()
        worker = Worker("binance", LIVE, "produce", self._settings, self.nats, _quick(stop, frozen=frozen), health)
        task = asyncio.create_task(worker.run())
        try:
            await until(lambda: health.get("frames", 0) >= len(sent) or task.done(), 60)
            end = time.monotonic() + SETTLING_S_MAX
            while time.monotonic() < end and not settled(health):  # noqa: ASYNC110 - a dictionary has no event
                await asyncio.sleep(0.01)
        finally:
            stop.set()
            await task

    async def account(self) -> Account:
        """What became of every id; a trade that is not as the exchange made it fails."""
        for it in await trades_of(self.nats, "binance", "BTC-USDT"):
            known = (it.timestamp, it.price, it.quantity, it.is_buyer_maker)
            assert known == (NOW + int(it.trade_id) * 1000, 100.5, 2.0, True), f"not as the exchange made it: {it}"
        return await of_log(self.nats, "binance", "BTC-USDT")


def _closed(count: int) -> Settled:
    return lambda health: health["gaps"].get("filled", 0) >= count and health["gaps"].get("open", 1) == 0


async def _holes_and_restart(course: Course) -> None:
    """Ids are left out while history refuses; after a restart more are missing, and history answers, late."""
    course.venue.refuse = 500
    await course.live(HOLED, lambda health: health["gaps"]["open"] >= 2 and course.venue.asked >= 2)
    assert course.venue.asked, "not run: history was not asked"
    course.venue.refuse, course.venue.empty = 0, 4
    await course.live(AFTER, _closed(3))


async def _untold_hole(course: Course) -> None:
    """A producer stops before a hole it saw is old enough to be told of."""
    await course.live(UNTOLD, lambda health: health["outbox"]["events"] >= len(UNTOLD), frozen=True)
    await course.live(LAST, _closed(1))


def _whole(its: Account) -> bool:
    return its.complete and its.nonexistent == NEVER & set(range(its.first, its.last + 1))


# --- the bugs --------------------------------------------------------------------------------------------------
def _skip_one_id(patch: pytest.MonkeyPatch) -> None:
    missed = _feeds.Feed._missed
    patch.setattr(_feeds.Feed, "_missed", lambda feed, last, *rest: missed(feed, last - 1, *rest))


def _late_closes_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_feeds.Feed, "_late", lambda feed, _: feed.holes.clear())


def _no_resume(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_feeds.Feed, "resume", lambda *_: None)


def _mark_passes_holes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_feeds.Feed, "mark", lambda feed: _feeds.Mark(feed.expected - 1, feed.seen, feed.epoch))


def _gap_ends_early(patch: pytest.MonkeyPatch) -> None:
    gaps = _worker.gaps

    def shorter(*arguments: Any) -> Iterable[Gap]:
        for gap in gaps(*arguments):
            yield msgspec.structs.replace(gap, to_id=str(int(gap.to_id or 0) - 1))

    patch.setattr(_worker, "gaps", shorter)


def _forget_open_gaps(patch: pytest.MonkeyPatch) -> None:
    """By the bucket and by the log: either alone makes up for the other."""
    patch.setattr(_cursors.Cursors, "gaps", property(lambda _: [], lambda *_: None), raising=False)
    patch.setattr(_orphans.Orphans, "_take", lambda *_: None)


def _last_trade_not_published(patch: pytest.MonkeyPatch) -> None:
    published = _fill.Filler._publish
    patch.setattr(_fill.Filler, "_publish", lambda filler, rows: published(filler, list(rows)[:-1]))


def _nothing_published(patch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> None:
        return None

    patch.setattr(_fill.Filler, "_publish", nothing)


def _last_page_dropped(patch: pytest.MonkeyPatch) -> None:
    read = _fill.read

    async def without(*arguments: Any, **more: Any) -> Reading:
        found = await read(*arguments, **more)
        kept = {number: row for number, row in found.rows.items() if number < max(found.rows)}
        return found._replace(rows=kept, out=found.out | (found.rows.keys() - kept.keys()))

    patch.setattr(_fill, "read", without)


def _unread_counts_as_absent(patch: pytest.MonkeyPatch) -> None:
    read = _fill.read

    async def sure(*arguments: Any, **more: Any) -> Reading:
        found = await read(*arguments, **more)
        return found._replace(out=found.out | found.unknown, unknown=set())

    patch.setattr(_fill, "read", sure)


def _our_clock_for_theirs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(binance.BaseSession, "at", lambda _, __, received: received)


def _ids_of_messages_too_coarse(patch: pytest.MonkeyPatch) -> None:
    named = _lanes.names.event_message_id

    def coarse(event: Any) -> str:
        return f"{event.symbol}:{event.timestamp // 4000}" if isinstance(event, Trade) else named(event)

    patch.setattr(_lanes.names, "event_message_id", coarse)


PLANTED: dict[str, tuple[Callable[[Course], Any], Plant]] = {
    "the last id of a hole is skipped": (_holes_and_restart, _skip_one_id),
    "a late id closes its whole hole": (_holes_and_restart, _late_closes_all),
    "an earlier life's mark is ignored": (_holes_and_restart, _no_resume),
    "a mark passes a hole nobody was told of": (_untold_hole, _mark_passes_holes),
    "a gap event ends one id early": (_holes_and_restart, _gap_ends_early),
    "open gaps are forgotten at a restart": (_holes_and_restart, _forget_open_gaps),
    "the last trade of a fill is not published": (_holes_and_restart, _last_trade_not_published),
    "a fill publishes nothing": (_holes_and_restart, _nothing_published),
    "the last page of a fill is dropped": (_holes_and_restart, _last_page_dropped),
    "what no page held counts as never existed": (_holes_and_restart, _unread_counts_as_absent),
    "trades get our clock's time": (_holes_and_restart, _our_clock_for_theirs),
    "different trades share a message id": (_holes_and_restart, _ids_of_messages_too_coarse),
}


@pytest.fixture
async def course(tmp_path: Path) -> AsyncIterator[Course]:
    venue = Venue((), (n for n in range(1, 50) if n not in NEVER), page=3)
    async with log_of_its_own(tmp_path) as nats, venue.open():
        yield Course(nats, venue, tmp_path)


@pytest.mark.parametrize("act", [_holes_and_restart, _untold_hole])
async def test_without_a_bug_the_account_is_whole(course: Course, act: Callable[[Course], Any]) -> None:
    await act(course)
    its = await course.account()
    assert _whole(its), its


@pytest.mark.parametrize("bug", PLANTED)
async def test_a_planted_bug_is_caught(course: Course, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    act, plant = PLANTED[bug]
    plant(monkeypatch)
    await act(course)
    try:
        its = await course.account()
    except AssertionError:
        return  # two trades under one id, or one the exchange never made
    assert not _whole(its), f"nothing noticed that {bug}"


# --- acknowledged before it was written ------------------------------------------------------------------------
def _land_at_once(patch: pytest.MonkeyPatch) -> None:
    sent = _outbox.Outbox._publish

    async def landing(box: Any, number: int, message: Any) -> None:
        await sent(box, number, message)
        if number in box._flying:
            box._land(number)

    patch.setattr(_outbox.Outbox, "_publish", landing)


@pytest.mark.parametrize("planted", [False, True], ids=["as it is", "planted"])
async def test_a_message_that_counts_as_stored_before_the_log_answered_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    if planted:
        _land_at_once(monkeypatch)
    with nats_server(tmp_path / "nats") as server:
        nats = await server.connect()
        await server.streams(nats)
        box = Outbox(nats, Spool(tmp_path, "binance-test", 1 << 30), memory=1 << 26, clock=lambda: NOW,
                     monotonic=time.monotonic, sleep=asyncio.sleep)  # fmt: skip
        running = asyncio.create_task(box.run())
        box.add(trade(1))
        await _holds_a_trade(nats)
        server.freeze()  # it takes what is sent, and answers nothing
        for number in (2, 3, 4):
            box.add(trade(number))
        await until(lambda: not box._lanes.waiting and not nats.pending_data_size)  # gone from here, for good
        server.kill()
        server.start()
        await until(lambda: nats.is_connected and nats.stats["reconnects"])
        await _holds_a_trade(nats)
        box.add(trade(5))
        await until(lambda: box.idle)
        box.stop()
        await running
        await box.close(10)
        await nats.flush()
        its = await of_log(nats, "binance", "BTC-USDT")
        await nats.close()
    assert (its.first, its.last) == (1, 5)
    assert its.unaccounted == ({2, 3, 4} if planted else set())


async def _holds_a_trade(nats: Client) -> None:
    """Until the log is there and has a trade; a server that was killed takes a while to have its streams again."""
    for _ in range(600):
        with contextlib.suppress(NatsError, TimeoutError):
            if (await nats.jetstream().stream_info("MD_TRADE")).state.messages:
                return
        await asyncio.sleep(0.1)
    raise AssertionError("not run: the log holds nothing")


def _ack_first(patch: pytest.MonkeyPatch) -> None:
    async def finish(loop: Any, batch: Any) -> None:
        await loop._pull.ack(batch.messages)
        del loop._held[: len(batch.messages)]
        loop._watermark.advance(_loop.stream_sequence(batch.messages[-1]))
        await loop._until_done(lambda: loop._write(batch))
        loop._count(batch)

    patch.setattr(_loop.Loop, "_finish", finish)


@pytest.mark.parametrize("planted", [False, True], ids=["as it is", "planted"])
async def test_a_batch_acknowledged_before_it_is_written_is_caught(
    stack: Stack, nats: Client, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    if planted:
        _ack_first(monkeypatch)
    symbol = new_symbol()
    async with consuming(stack, nats, "trades"):
        await publish(nats, row(symbol, 0))
        await until_rows(stack, 1, "trades", symbol)

    def away(*_: Any) -> None:
        raise QuestdbUnreachable("away, as this test will have it")

    with monkeypatch.context() as patch:
        patch.setattr(_store.Writer, "write", away)
        async with consuming(stack, nats, "trades") as health:
            await publish(nats, *(row(symbol, number) for number in range(1, 20)))
            await until(lambda: health["tables"]["trades"]["held"])
    async with consuming(stack, nats, "trades"):
        await publish(nats, row(symbol, 20))
        await until_rows(stack, 2 if planted else 21, "trades", symbol)
    stored = [
        row(symbol, int(it)) for (it,) in await rows(stack, "SELECT trade_id FROM trades WHERE symbol = $1", symbol)
    ]
    its = account(stored, [], lambda it: int(it.trade_id))
    assert (its.first, its.last) == (0, 20)
    assert its.unaccounted == (set(range(1, 20)) if planted else set())
