"""Events, names, times and symbols: what crosses a process keeps its shape."""

from __future__ import annotations

import contextlib
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import __main__ as generated
from schemas import events, instruments, names, symbols, time
from schemas.events import Book, Clock, Funding, Gap, Kline, Liquidation, OpenInterest, Trade

_TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
_TIME = st.integers(time.EARLIEST, 4 * 10**15)
_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
_OPTIONAL = st.none() | _NUMBER
_SYMBOL = st.from_regex(r"[A-Z0-9-]{1,20}", fullmatch=True)
_EXCHANGE = st.sampled_from(symbols.EXCHANGES)


def _builds(kind: type[events.Event]) -> st.SearchStrategy[events.Event]:
    level = st.tuples(_NUMBER, _NUMBER)
    fields = {
        "exchange": _EXCHANGE, "symbol": _SYMBOL, "timestamp": _TIME, "received": _TIME, "mark_price": _OPTIONAL,
        "bids": st.lists(level, max_size=3), "asks": st.lists(level, max_size=3), "index_price": _OPTIONAL,
        "next_funding": st.none() | _TIME, "interval_hours": _OPTIONAL,
    }  # fmt: skip
    whole = st.integers(0, 2**63 - 1)
    fields |= dict.fromkeys(
        ("sequence", "fills", "filled", "updated", "revision", "from_timestamp", "to_timestamp"), whole
    )
    fields |= dict.fromkeys(("trades", "expected"), st.none() | whole)
    fields |= {name: _NUMBER for name, hint in kind.__annotations__.items() if hint == "float"}
    fields |= dict.fromkeys(("trade_id", "liquidation_id", "channel", "cause", "evidence", "interval"), _TEXT)
    fields |= {name: st.none() | _TEXT for name in ("from_id", "to_id")}
    return st.builds(kind, **{name: value for name, value in fields.items() if name in kind.__struct_fields__})


ANY_EVENT = st.one_of(*(_builds(kind) for kind in events.EVENTS))


@given(ANY_EVENT)
def test_every_event_survives_its_own_json(event: events.Event) -> None:
    assert events.decode_any(events.encode(event)) == event


@given(st.lists(ANY_EVENT, min_size=1, max_size=5))
def test_a_payload_holds_one_event_per_line(made: list[events.Event]) -> None:
    decoder = msgspec.json.Decoder(events.Event)
    assert decoder.decode_lines(names.payload(made)) == made


@given(ANY_EVENT)
def test_a_subject_has_only_the_tokens_its_stream_takes_in(event: events.Event) -> None:
    if isinstance(event, Kline):
        event.interval = "1m"
    subject = names.event_subject(event)
    assert subject.startswith("md.")
    assert all(token and not set(token) & set(" *>\t\r\n") for token in subject.split("."))


def test_unknown_fields_and_missing_optional_ones_still_decode() -> None:
    line = (
        b'{"kind":"trade","exchange":"binance","symbol":"BTC-USDT","timestamp":1,"received":2,"trade_id":"3",'
        b'"price":1.5,"quantity":2,"value":3,"is_buyer_maker":true,"of_the_future":[1]}'
    )
    assert events.decode_any(line) == Trade("binance", "BTC-USDT", 1, 2, "3", 1.5, 2.0, 3.0, True, 1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Trade("a", "B", 1, 0, "7", 1, 1, 1, True), Trade("a", "B", 1, 9, "7", 2, 1, 1, True), True),
        (Trade("a", "B", 1, 0, "7", 1, 1, 1, True), Trade("a", "B", 2, 0, "7", 1, 1, 1, True), False),
        (Clock("a", 1, 2), Clock("a", 1, 3), True),
        (OpenInterest("a", "B", 1, 0, 1.0), OpenInterest("a", "B", 1, 5, 2.0), True),
        (Funding("a", "B", 1, 0, 0.1), Funding("a", "B", 2, 0, 0.1), False),
        (Book("a", "B", 1, 0, 1, [], []), Book("a", "B", 1, 0, 2, [], []), True),
    ],
)
def test_identity_is_what_the_contract_names(one: events.Event, other: events.Event, same: bool) -> None:
    assert (events.identity(one) == events.identity(other)) is same


def _kline(**changed: object) -> Kline:
    kline = Kline("a", "B", 60, 1, "1m", 1.0, 2.0, 0.5, 1.5, 10.0, 12.0, 3, "ws")
    return msgspec.structs.replace(kline, **changed)


def test_a_corrected_candle_gets_another_message_id_and_a_copy_the_same() -> None:
    first = names.event_message_id(_kline())
    assert names.event_message_id(_kline(source="rest", received=99, revision=1)) == first
    assert names.event_message_id(_kline(close=1.6)) != first


def test_a_gap_that_changes_its_state_gets_another_message_id() -> None:
    gap = Gap("a", "B", 1, 0, "trades", "1", "5", 1, 2, "dropped", "open", 5, 0, "", 1)
    filled = msgspec.structs.replace(gap, status="filled", filled=5, revision=1)
    assert names.event_message_id(gap) != names.event_message_id(filled)


def test_a_batch_with_a_hole_in_it_gets_another_message_id() -> None:
    whole = names.batch_message_id("a", "B", ["1", "2", "3"])
    assert names.batch_message_id("a", "B", ["1", "3"]) != whole
    assert names.batch_message_id("a", "B", ["1", "4", "3"]) != whole


def test_trade_and_liquidation_message_ids_are_exchange_symbol_id() -> None:
    assert names.event_message_id(Trade("a", "B", 1, 0, "7", 1, 1, 1, True)) == "a:B:7"
    assert names.event_message_id(Liquidation("a", "B", 1, 0, "8", "long", 1, 1, 1, "all")) == "a:B:8"


@pytest.mark.parametrize(
    ("text", "micros"),
    [("250ms", 250_000), ("10s", 10**7), ("5m", 3 * 10**8), ("4h", 4 * time.HOUR), ("5w", 5 * time.WEEK)],
)
def test_durations_are_microseconds(text: str, micros: int) -> None:
    assert time.duration(text) == micros


@pytest.mark.parametrize("text", ["", "5", "1.5h", "h", "-5m", "5 m", "5M"])
def test_what_is_not_a_duration_says_so(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        time.duration(text)


@pytest.mark.parametrize("value", [1_723_161_255, 1_723_161_255_342, 1_723_161_255_342_123, 1_723_161_255_342_123_456])
def test_seconds_milliseconds_microseconds_and_nanoseconds_are_told_apart(value: int) -> None:
    assert time.micros(value) // 10**6 == 1_723_161_255


@given(_TIME)
def test_weeks_begin_on_monday_and_days_at_midnight_utc(moment: int) -> None:
    from datetime import UTC, datetime

    week = datetime.fromtimestamp(time.floor(moment, time.WEEK) // time.SECOND, UTC)
    assert (week.weekday(), week.hour, week.minute, week.second) == (0, 0, 0, 0)
    assert 0 <= moment - time.floor(moment, time.WEEK) < time.WEEK
    assert time.floor(moment, time.DAY) % time.DAY == 0


@given(_TIME)
def test_iso_times_are_read_back(moment: int) -> None:
    assert time.parse(time.iso(moment)) == moment


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (symbols.spot("XBT", "usdt"), "BTC-USDT"),
        (symbols.spot("XDG", "USD"), "DOGE-USD"),
        (symbols.derivative("BTC", "USDT", "USDT"), "BTC-USDT-PERP"),
        (symbols.derivative("BTC", "USD", "BTC"), "BTC-USD-BTC-PERP"),
        (symbols.derivative("BTC", "USDT", "USDT", "20261225"), "BTC-USDT-20261225"),
        (symbols.derivative("kPEPE", "USDC", "USDC"), "1000PEPE-USDC-PERP"),
        (symbols.from_ccxt("BTC/USDT:USDT"), "BTC-USDT-PERP"),
        (symbols.from_ccxt("BTC/USD:BTC-261225"), "BTC-USD-BTC-20261225"),
    ],
)
def test_symbols_are_canonical(made: str, expected: str) -> None:
    assert made == expected


@pytest.mark.parametrize("bad", ["BTC.USDT", "BTC*", ">", "a b", "../x", "<script>", "", "比特币", "A" * 99])
def test_symbols_outside_the_charset_never_pass(bad: str) -> None:
    assert not symbols.is_symbol(bad)


@given(st.text(max_size=30))
def test_a_coin_is_in_the_charset_or_an_error(text: str) -> None:
    with contextlib.suppress(symbols.SymbolError):
        assert symbols.is_symbol(symbols.coin(text))


@pytest.mark.parametrize(
    ("price", "tick", "row"),
    [
        (61_837.63, 0.01, 2.0),
        (2_673.54, 0.01, 0.1),
        (1.01, 0.0001, 0.0001),
        (0.00001234, 1e-8, 1e-8),
        (100.0, 0.5, 0.5),
    ],
)
def test_an_automatic_row_is_the_smallest_1_2_5_of_ticks_above_the_share(price: float, tick: float, row: float) -> None:
    assert instruments.automatic_row(price, tick) == row


@given(st.floats(1e-9, 1e9))
def test_an_inferred_tick_has_eight_significant_digits_of_the_price(price: float) -> None:
    tick = instruments.inferred_tick(price)
    assert 10**7 <= price / tick < 1.0000001 * 10**8
    assert math.isclose(math.log10(tick), round(math.log10(tick)), abs_tol=1e-9)


def test_the_generated_documents_are_current() -> None:
    for name, content in generated.documents().items():
        assert (generated.FOLDER / name).read_bytes() == content, f"run `make schemas`: {name} is old"
