"""The engine against the plain definitions: random streams, however they are cut, stopped and started."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.candles import decode
from schemas.events import Clock
from signals._layout import DAY
from tests import oracle
from tests.signal_streams import Machine, cvd_of, messages, reference, stream

slow = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _exact(value):
    if isinstance(value, list):
        return [_exact(item) for item in value]
    if isinstance(value, dict):
        return {name: _exact(item) for name, item in value.items()}
    return Fraction(value) if isinstance(value, Decimal) else value


def _rounded(wanted: dict) -> dict:
    """Ratios as they are written: six decimals."""
    for imbalance in wanted["imbalances"]:
        imbalance["ratio"] = Fraction(int(imbalance["ratio"] * 10**6 + Fraction(1, 2)), 10**6)
    return wanted


def _wanted(symbol: oracle.Symbol, trades, machine: Machine, slot: int, name: str, start: int, length: int, **more):
    state = machine.core.state
    day = start // DAY
    row = int(state.grid[slot, day & 1, 4]) if state.grid_day[slot, day & 1] == day else machine.rows[slot, day]
    exchange, of = state.symbols[slot]
    content = _rounded(oracle.candle(trades, Fraction(1, 100), Fraction(1, 1000), row))
    return content | {
        "exchange": exchange, "symbol": of, "interval": name, "timestamp": start, "complete": True,
        "cvd": cvd_of(symbol, start, start + length) * Fraction(1, 1000),
    } | more  # fmt: skip


def _compare(machine: Machine, truth: oracle.Oracle) -> int:
    """Every candle of every key equals the oracle's; returns how many there were."""
    keys, state, compared = machine.keys(), machine.core.state, 0
    for slot, who in enumerate(state.symbols):
        symbol = truth.symbols.get(who)
        if symbol is None:
            continue
        for name, length in zip(state.spans.names, state.spans.lengths, strict=True):
            found = keys.get(f"footprint:{who[0]}:{who[1]}:{name}:closed".encode(), {})
            kept = symbol.closed.get(length, {})
            shown = sorted(start for start, closed in kept.items() if closed.trades)[-machine.config.closed :]
            assert sorted(found) == shown
            for start, text in found.items():
                closed = kept[start]
                wanted = _wanted(
                    symbol, closed.trades, machine, slot, name, start, length, closed=True,
                    revision=closed.revision, sequence=closed.sequence, as_of=closed.at,
                )  # fmt: skip
                assert _exact(json.loads(text, parse_float=Decimal)) == wanted
                compared += 1
            compared += _compare_open(machine, truth, symbol, slot, name, length, keys)
    return compared


def _compare_open(machine, truth, symbol, slot, name, length, keys) -> int:
    exchange, of = machine.core.state.symbols[slot]
    text = keys.get(f"footprint:{exchange}:{of}:{name}".encode())
    opened = truth.open(symbol, length)
    if opened is None:
        kept = {start: c for start, c in symbol.closed.get(length, {}).items() if c.trades}
        if kept:
            assert decode(text).closed
            assert decode(text).timestamp == max(kept)
        return 0
    start, trades = opened
    wanted = _wanted(
        symbol, trades, machine, slot, name, start, length, closed=False, revision=0,
        sequence=max(symbol.touched[0], *(t.sequence for t in trades)),
        as_of=max(symbol.touched[1], *(t.at for t in trades)),
    )  # fmt: skip
    assert _exact(json.loads(text, parse_float=Decimal)) == wanted
    return 1


class _Remembering(Machine):
    """Keeps every grid it was given, for candles of days long gone."""

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.rows: dict[tuple[int, int], int] = {}
        state = self.core.state
        chosen = state.set_grid

        def remember(slot, day, grid):
            self.rows[slot, day] = grid.row
            chosen(slot, day, grid)

        state.set_grid = remember


def _cut(batch: list, rng: random.Random) -> list[list]:
    parts, at = [], 0
    while at < len(batch):
        size = rng.choice([1, 2, 5, 40, 400])
        parts.append(batch[at : at + size])
        at += size
    return parts


@slow
@given(st.integers(0, 2**32), st.integers(1, 1200), st.booleans())
def test_every_candle_equals_the_plain_definition(seed: int, count: int, wild: bool) -> None:
    batch = messages(stream(seed, count, wild=wild), seed)
    machine = _Remembering()
    for part in _cut(batch, random.Random(seed)):
        machine.feed(part)
    truth = reference(batch, machine)
    assert _compare(machine, truth) or not truth.symbols
    assert machine.core.counters()["beyond_horizon"] == len(truth.beyond)


@slow
@given(st.integers(0, 2**32), st.integers(1, 800))
def test_cutting_batches_elsewhere_changes_no_byte(seed: int, count: int) -> None:
    made = stream(seed, count)
    whole, pieces = Machine(), Machine()
    batch = messages(made, seed)
    whole.feed(batch)
    for part in _cut(batch, random.Random(seed + 1)):
        pieces.feed(part)
        pieces.board.gather(0.0)
    assert whole.keys() == pieces.keys()


@slow
@given(st.integers(0, 2**32), st.integers(2, 800), st.data())
def test_a_restart_anywhere_changes_no_byte(seed: int, count: int, data) -> None:
    batch = messages(stream(seed, count), seed)
    steady = Machine()
    steady.feed(batch)
    machine = Machine()
    at = 0
    for stop in sorted(data.draw(st.lists(st.integers(0, len(batch)), max_size=4))):
        machine.feed(batch[at:stop])
        machine.store()
        at = stop
        archive = machine.archive
        machine = Machine()
        machine.core = type(machine.core)(machine.config, machine.core.state.spans, machine.core.grids, archive)
        machine.archive = archive
        machine.core.recall()
        machine.board = type(machine.board)(machine.core, machine.board._writer, machine.board.names)
    machine.feed(batch[at:])
    assert steady.keys() == machine.keys()


@slow
@given(st.integers(0, 2**32))
def test_redelivered_messages_change_no_byte(seed: int) -> None:
    rng = random.Random(seed)
    batch = messages(stream(seed, 500), seed)
    once, twice = Machine(), Machine()
    once.feed(batch)
    at = 0
    while at < len(batch):
        size = rng.choice([1, 7, 60])
        again = max(at - rng.choice([0, 3, 30]), 0)
        twice.feed(batch[again : at + size])
        at += size
    assert once.keys() == twice.keys()
    assert once.core.counters()["trades"] == twice.core.counters()["trades"]


@pytest.mark.parametrize("seed", range(5))
def test_volume_is_conserved_in_every_interval_profile_and_delta(seed: int) -> None:
    machine = Machine(closed=100_000)
    made = stream(seed, 3_000, wild=seed % 2 == 0)
    # A clock event late enough closes everything: no candle waits out its second of grace.
    ends = {event.exchange: max(e.timestamp for e in made if e.exchange == event.exchange) for event in made}
    made += [Clock(exchange, end - end % DAY + DAY + 1_000_000, end + DAY) for exchange, end in ends.items()]
    batch = messages(made, seed)
    machine.feed(batch)
    truth = reference(batch, machine)
    keys = machine.keys()
    for (exchange, name), symbol in truth.symbols.items():
        total = sum(trade.lots for trade in symbol.applied)
        delta = sum(trade.signed for trade in symbol.applied)
        for interval in machine.core.state.spans.names:
            head = f"footprint:{exchange}:{name}:{interval}"
            texts = list(keys.get(f"{head}:closed".encode(), {}).values())
            opened = keys.get(head.encode())
            if opened is not None and not decode(opened).closed:
                texts.append(opened)
            candles = [decode(text) for text in texts]
            assert round(sum(sum(c.buys) + sum(c.sells) for c in candles) * 1000) == total
            assert round(sum(c.delta for c in candles) * 1000) == delta
        running = json.loads(keys[f"cvd:{exchange}:{name}".encode()], parse_float=Decimal)
        assert running["total"] * 1000 == delta


def compiled_later() -> list[str]:
    """Kernels that a long course, stopped and started, needs beyond those that were compiled before it."""
    from numba.core.dispatcher import Dispatcher

    from signals._warm import warm_up

    def compiled() -> set[tuple[str, tuple]]:
        found = [it for name, module in list(sys.modules.items()) if name.startswith("signals.")
                 for it in vars(module).values() if isinstance(it, Dispatcher)]  # fmt: skip
        return {(f"{it.py_func.__module__}.{it.py_func.__name__}", types) for it in found for types in it.signatures}

    warm_up()
    before = compiled()
    machine = Machine()
    for seed in range(5):
        batch = messages(stream(seed, 1_000, wild=seed != 1), seed)
        machine.feed(batch)
        machine.store()
        again = Machine()
        again.core = type(again.core)(machine.config, machine.core.state.spans, machine.core.grids, machine.archive)
        again.core.recall()
        again.feed(batch[-10:])
        assert machine.core.engine.late.applied
        assert machine.keys()
    return sorted(f"{name}{types}" for name, types in compiled() - before)


def test_everything_a_course_of_trades_needs_is_compiled_before_it_begins() -> None:
    code = "from tests.test_signals_engine import compiled_later; print(*compiled_later(), sep='\\n', end='')"
    fresh = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False,
                           cwd=Path(__file__).parent.parent)  # fmt: skip
    assert fresh.returncode == 0, fresh.stderr
    assert fresh.stdout == ""
