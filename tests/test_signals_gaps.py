"""``complete`` follows the gaps, whatever comes first: the trades, the gaps, their filling, or a restart."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.candles import decode
from schemas.events import Gap, encode
from schemas.names import candle_message_id, event_subject
from schemas.time import duration
from signals._decode import Message
from signals._gap_feed import GapFeed
from signals._gaps import HELD_MAX, MISSING, Gaps
from signals._layout import DAY
from tests.signal_streams import MIDNIGHT, SYMBOLS, Machine, messages, stream

slow = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
WHO = SYMBOLS[0]
SECOND = 1_000_000


def gap(begin: int, end: int, status: str = "open", revision: int = 0, **more: Any) -> Gap:
    """A gap in the trades of the first symbol."""
    fields = {"exchange": WHO[0], "symbol": WHO[1], "channel": "trades", "from_id": "1", "to_id": None} | more
    return Gap(
        timestamp=begin, received=end, from_timestamp=begin, to_timestamp=end, cause="skipped", status=status,
        expected=None, filled=0, evidence="", updated=end + revision, revision=revision, **fields,
    )  # fmt: skip


def _gaps(rng: random.Random, begin: int, end: int) -> list[Gap]:
    """Gaps of all symbols, each in some of its states, ascending."""
    made = []
    for n in range(rng.randrange(12)):
        exchange, symbol = rng.choice(SYMBOLS)
        first = rng.randrange(begin, end)
        last = first + rng.choice([0, 1, 2_000_000, 70_000_000, 4_000_000_000])
        states = ["open", *rng.choices(["partial", "filled", "nonexistent", "unfillable"], k=rng.randrange(3))]
        made += [
            gap(first, last, status, revision, exchange=exchange, symbol=symbol, from_id=rng.choice([None, str(n)]))
            for revision, status in enumerate(states)
        ]
    return made


def _restarted(machine: Machine) -> Machine:
    machine.store()
    again = Machine()
    again.core = type(again.core)(machine.config, machine.core.state.spans, machine.core.grids, machine.archive)
    again.archive = machine.archive
    again.core.recall()
    again.board = type(again.board)(again.core, again.board._writer, again.board.names)
    again.sequence = machine.sequence
    return again


def _run(batch: list[Message], gaps: list[Gap], seed: int, *, restarts: bool = False) -> dict[bytes, Any]:
    """The keys after trades and gaps, interleaved as ``seed`` says."""
    rng, machine = random.Random(seed), Machine()
    trades, holes = list(batch), list(gaps)
    while trades or holes:
        if holes and (not trades or rng.random() < 0.3):
            machine.core.learn(holes.pop(0))
        else:
            count = rng.choice([1, 20, 200])
            machine.feed(trades[:count])
            trades = trades[count:]
        machine.board.gather(0.0)
        if restarts and rng.random() < 0.05:
            machine = _restarted(machine)
    return machine.keys()


def _texts(keys: dict[bytes, Any]) -> list[bytes]:
    found = []
    for name, value in keys.items():
        if name.startswith(b"footprint:"):
            found += value.values() if isinstance(value, dict) else [value]
    return found


@slow
@given(st.integers(0, 2**32), st.integers(1, 500))
def test_complete_is_what_the_gaps_say_in_whatever_order_they_and_the_trades_come(seed: int, count: int) -> None:
    rng = random.Random(seed)
    batch = messages(stream(seed, count), seed)
    gaps = _gaps(rng, MIDNIGHT - 250 * SECOND, MIDNIGHT + 900 * SECOND)
    first = _run(batch, gaps, seed)
    for n in range(2):
        shuffled = rng.sample(gaps, len(gaps))
        assert _run(batch, shuffled, seed + n, restarts=True) == first
    latest: dict[tuple[str, str, int, str | None], Gap] = {}
    for each in gaps:
        place = (each.exchange, each.symbol, each.timestamp, each.from_id)
        if place not in latest or each.revision > latest[place].revision:
            latest[place] = each
    for text in _texts(first):
        candle = decode(text)
        end = candle.timestamp + duration(candle.interval)
        missing = [
            each
            for (exchange, symbol, *_), each in latest.items()
            if (exchange, symbol) == (candle.exchange, candle.symbol)
            and each.status in MISSING
            and each.from_timestamp < end
            and each.to_timestamp >= candle.timestamp
        ]
        assert candle.complete is not bool(missing)


def _published(machine: Machine) -> list[tuple[str, dict[str, Any], str]]:
    outgoing, machine.core.ledger.outgoing = machine.core.ledger.outgoing, []
    letters = [machine.board.footprints.message(*each) for each in outgoing]
    return [(subject, json.loads(text), message_id) for subject, text, message_id in letters]


def _without_gaps(candle: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in candle.items() if name not in ("complete", "gaps_as_of")}


def test_a_closed_candle_is_published_again_under_another_id_each_time_its_completeness_changes() -> None:
    machine = Machine()
    machine.feed(messages(stream(3, 1_500, wild=False), 3))
    published = [(c, name) for _, c, name in _published(machine) if (c["exchange"], c["symbol"]) == WHO]
    seen = {name for _, name in published}
    first = {(c["interval"], c["timestamp"]): _without_gaps(c) for c, _ in published}
    at = next(start for interval, start in first if interval == "1m")
    missing = False
    for revision, status in enumerate(("open", "partial", "filled", "unfillable", "nonexistent")):
        machine.core.learn(gap(at + 5, at + SECOND, status, revision))
        again = _published(machine)
        assert bool(again) is (missing is not (status in MISSING))
        missing = status in MISSING
        for _, candle, name in again:
            assert name not in seen
            assert candle["complete"] is not missing
            assert _without_gaps(candle) == first[candle["interval"], candle["timestamp"]]
            seen.add(name)
    assert machine.core.counters()["gaps"] == 0


def test_the_id_of_a_candle_no_gap_touches_ends_in_its_revision() -> None:
    name = candle_message_id("one", "A-B", "footprint", "1m", 60, 2)
    assert name == "footprint:one:A-B:1m:60:2"
    assert candle_message_id("one", "A-B", "footprint", "1m", 60, 2, 77) == name + ":77"


def test_an_older_state_of_a_gap_never_opens_it_again() -> None:
    gaps, now = Gaps(), MIDNIGHT
    assert gaps.take(gap(now, now + SECOND, "filled", 1)) == (now, now + SECOND)
    assert gaps.take(gap(now, now + SECOND, "open", 0)) is None
    assert gaps.told(WHO, now, now + SECOND) is False
    assert gaps.told(WHO, now + SECOND + 1, now + DAY) is None
    assert gaps.unsettled(WHO) == 0


def test_open_gaps_are_those_that_may_still_be_filled() -> None:
    gaps = Gaps()
    for n, status in enumerate(("open", "partial", "unfillable", "filled", "nonexistent")):
        gaps.take(gap(MIDNIGHT + n, MIDNIGHT + n, status))
    assert (gaps.unsettled(WHO), gaps.missing()) == (2, 3)


@pytest.mark.parametrize("status", ["open", "filled"])
def test_the_gaps_held_are_bounded_and_none_that_misses_trades_is_forgotten(status: str) -> None:
    gaps, rng = Gaps(), random.Random(1)
    for _ in range(2 * HELD_MAX):
        begin = MIDNIGHT + rng.randrange(DAY)
        gaps.take(gap(begin, begin + SECOND, status if rng.random() < 0.3 else "open", from_id=str(rng.random())))
    assert len(gaps.dump()) <= HELD_MAX
    assert bool(gaps.joined) is True
    rng = random.Random(1)
    for _ in range(2 * HELD_MAX):
        begin = MIDNIGHT + rng.randrange(DAY)
        kind, _ = (status if rng.random() < 0.3 else "open"), rng.random()
        if kind == "open":
            assert gaps.told(WHO, begin, begin + SECOND) is True


def test_gaps_older_than_any_kept_candle_make_room_first() -> None:
    gaps = Gaps()
    gaps.reach = DAY
    for n in range(3 * HELD_MAX):
        gaps.take(gap(MIDNIGHT + n * DAY, MIDNIGHT + n * DAY + SECOND))
    assert gaps.joined == 0
    assert gaps.told(WHO, MIDNIGHT, MIDNIGHT + DAY) is None
    assert gaps.told(WHO, MIDNIGHT + (3 * HELD_MAX - 1) * DAY, MIDNIGHT + 3 * HELD_MAX * DAY) is True


def test_lines_that_are_no_gap_of_their_subject_are_counted_and_those_of_other_channels_left_alone() -> None:
    machine = Machine()
    feed = GapFeed(None, machine.core, lambda: 0.0)  # type: ignore[arg-type]  # nothing is read from it here
    good = gap(MIDNIGHT, MIDNIGHT + SECOND)
    book = msgspec.structs.replace(good, channel="books")
    lines = [encode(good), b"{", encode(book), b"", encode(msgspec.structs.replace(good, symbol="E-F"))]
    lines.append(encode(msgspec.structs.replace(good, timestamp=5)))
    feed.apply([Message(event_subject(good), b"\n".join(lines), 7)])
    assert feed.bad == 3
    assert machine.core.state.gaps.missing() == 1
    assert machine.core.state.gaps.watermark.sequence == 7
