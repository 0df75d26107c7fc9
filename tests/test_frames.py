"""Every exchange's own fixtures decode to the events written beside them, and no broken frame does harm."""

from __future__ import annotations

import io
from functools import cache
from math import isfinite
from pathlib import Path

import msgspec
import pytest

from producers._decode import decode
from producers._exchange import Options, Setup, directory, every, load
from producers._feeds import Feeds
from schemas import time
from schemas.events import decode_any, encode
from schemas.names import WORD
from schemas.symbols import is_symbol
from tests.fuzzing import Mutator, endured

FRAMES = Path(__file__).resolve().parent / "frames"
EXCHANGES = sorted(every())
NOW = 1_800_000_000_000_000
SEED, SESSIONS = 11, 400
"""Of twelve frames each: some thousand mutated frames an exchange."""
FIXTURES = sorted(
    path.relative_to(FRAMES) for path in FRAMES.glob("*/*.jsonl") if not path.stem.endswith(".expected")
)  # fmt: skip


@cache
def frames(exchange):
    paths = [FRAMES / path for path in FIXTURES if path.parts[0] == exchange]
    assert paths, f"{exchange} has no fixtures"
    return [line for path in paths for line in path.read_bytes().splitlines()]


def session(exchange):
    declared = load(exchange)
    return declared.session(Setup(exchange, Feeds(directory(declared, exchange)), Options()))


@pytest.mark.parametrize("fixture", FIXTURES, ids=str)
def test_a_fixture_decodes_to_what_stands_beside_it(fixture):
    out, err = io.BytesIO(), io.StringIO()
    with (FRAMES / fixture).open("rb") as lines:
        assert decode(fixture.parts[0], lines, None, out, err) == 0, err.getvalue()
    expected = (FRAMES / fixture).with_suffix(".expected.jsonl").read_bytes()
    # as events: what is expected was written before fields that came later with a default
    assert [*map(decode_any, out.getvalue().splitlines())] == [*map(decode_any, expected.splitlines())]


def kinds(exchange):
    """Kinds of events the fixtures of an exchange stand for."""
    expected = [(FRAMES / path).with_suffix(".expected.jsonl") for path in FIXTURES if path.parts[0] == exchange]
    return {msgspec.json.decode(line)["kind"] for path in expected for line in path.read_bytes().splitlines()}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_every_channel_on_a_socket_has_a_fixture(exchange):
    wanted = {WORD[word].kind for word, channel in load(exchange).channels.items() if channel.topics}
    assert wanted <= kinds(exchange)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_broken_frame_raises_what_is_declared_or_yields_sound_events(exchange):
    mutator = Mutator(frames(exchange), SEED)
    for _ in range(SESSIONS):
        for raw, events in endured(session(exchange), mutator, NOW):
            for event in events:
                assert decode_any(encode(event)) == event, raw
                assert is_symbol(event.symbol), raw
                assert event.timestamp <= NOW + time.AHEAD_MAX, raw
                assert all(isfinite(v) for v in msgspec.structs.astuple(event) if isinstance(v, float)), raw
