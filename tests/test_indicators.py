"""Indicators: TA-Lib's own numbers to the last bit, in whatever way the bars come."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest
import redis.asyncio as aioredis
import talib
import wickra
from talib import abstract

from schemas.settings import ConfigError
from signals._talib import Bar, IndicatorUnusable, Line, parse
from signals.indicators import Indicators
from tests.series import MINUTE, T0, encoded, footprint, keys, kline, settings

ALL = [name for name in talib.get_functions() if name != "MAVP"]
WHO = ("one", "BTC-USDT")


def _bars(count: int, seed: int = 1) -> list[Bar]:
    rng = random.Random(seed)
    price, made = 100.0, []
    for _ in range(count):
        opened, price = price, price + rng.gauss(0, 1)
        spread = rng.random()
        made.append(
            Bar(opened, max(opened, price) + spread, min(opened, price) - spread, price, round(rng.random() * 9, 3))
        )
    return made


def _same(found, wanted) -> bool:
    """Bit for bit; null where TA-Lib has no number yet."""
    return found == wanted or (found is None and wanted != wanted)


def _last(name: str, bars: list[Bar]):
    one = parse(name)
    return one.told(np.array([column[-1] for column in _tuple(one.batch(np.array(bars).T.copy()))])
                    if len(one.outputs) > 1 else one.batch(np.array(bars).T.copy())[-1])  # fmt: skip


def _tuple(value):
    return value if isinstance(value, tuple) else (value,)


def test_every_function_of_ta_lib_live_and_peeked_equals_its_batch_to_the_last_bit() -> None:
    bars = _bars(400)
    indicators = [parse(name) for name in ALL]
    assert len(indicators) > 150
    line = Line(indicators)
    line.begin(bars[:150])
    for n, bar in enumerate(bars[150:], 151):
        peeked = line.peek(bar) if n > 390 else {}
        line.update(bar)
        assert all(line.values()[name] == value for name, value in peeked.items())
    found, columns = line.values(), np.array(bars).T.copy()
    for one in indicators:
        value = found[one.name]
        wanted = [column[-1] for column in _tuple(one.batch(columns))]
        told = list(value.values()) if isinstance(value, dict) else [value]
        assert all(map(_same, told, wanted)), (one.name, told, wanted)


@pytest.mark.parametrize("name", ["RSI(14)", "EMA(20)", "MACD(12,26,9)", "ATR(14)", "CDLENGULFING"])
def test_handles_opened_before_there_are_enough_bars_come_to_the_same(name) -> None:
    bars = _bars(80)
    line = Line([parse(name)])
    line.begin([])
    for n, bar in enumerate(bars):
        line.update(bar)
        if n > 5:
            assert line.values()[name] == _last(name, bars[: n + 1])


def test_an_independent_library_agrees() -> None:
    bars = _bars(400)
    closes = [bar.close for bar in bars]
    for name, oracle in (("RSI(14)", wickra.RSI(14)), ("EMA(20)", wickra.EMA(20))):
        expected = [oracle.update(close) for close in closes][-1]
        assert _last(name, bars) == pytest.approx(expected, rel=1e-9)


def test_parameters_are_told_by_place_or_by_name() -> None:
    assert parse("RSI(21)").parameters == {"timeperiod": 21}
    assert parse("BBANDS(20, nbdevup=2.5)").parameters == {"timeperiod": 20, "nbdevup": 2.5}
    assert parse("obv").inputs == (3, 4)
    assert parse("STOCH").outputs == ("slowk", "slowd")
    assert (
        parse("EMA(20)").batch(np.array(_bars(50)).T.copy())[-1]
        != parse("EMA(21)").batch(np.array(_bars(50)).T.copy())[-1]
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("RSII(14)", "near it are RSI"),
        ("MADC", "MACD"),
        ("RSI(14, 3)", "no place for '3'"),
        ("RSI(period=3)", "timeperiod=14"),
        ("RSI(many)", "no number"),
        ("RSI(1)", "TA_BAD_PARAM"),
        ("MAVP", "periods"),
        ("RSI 14", "no function"),
    ],
)
def test_what_cannot_be_computed_is_refused_with_what_could_be(text, told) -> None:
    with pytest.raises(IndicatorUnusable, match=told.replace("(", r"\(")):
        parse(text)
    with pytest.raises(ConfigError, match=r"signals\.indicators"):
        Indicators(settings(f'signals.indicators = ["{text}"]'))


def _signal(text: str = "") -> Indicators:
    return Indicators(settings(f'[signals]\nindicators = ["EMA(5)", "OBV"]\nindicator_bars = 50\n{text}'))


def _klines(count: int):
    return [
        kline(T0 + n * MINUTE, bar.close, open=bar.open, high=bar.high, low=bar.low, volume=bar.volume)
        for n, bar in enumerate(_bars(count))
    ]


def test_keys_are_the_same_bytes_in_any_order_with_copies_and_revisions() -> None:
    events = [("kline", one, n + 1) for n, one in enumerate(_klines(237))]
    events += [("footprint", footprint(one.timestamp, one.close, [1.5], [0.5], who=WHO), n) for _, one, n in events]
    revised = kline(T0 + 200 * MINUTE, 77.0, revision=1, who=WHO)
    straight, mixed = _signal(), _signal()
    for one in [*events, ("kline", revised, 900)]:
        straight.take(*one)
        straight.dirty.clear()
        if one[2] % 7 == 0:
            keys(straight)  # reading in between changes nothing
    wanted = keys(straight)
    again = [("kline", revised, 900), *events, *events[40:90]]
    random.Random(4).shuffle(again)
    for one in again:
        mixed.take(*one)
    assert keys(mixed) == wanted
    told = msgspec.json.decode(wanted[b"indicators:one:BTC-USDT:1m"])
    # Begins at a round time: the last 50 to 100 minutes, whenever it was started.
    newest = T0 + 236 * MINUTE
    anchor = (newest // (50 * MINUTE) - 1) * 50 * MINUTE
    assert told["klines"]["bars"] == (newest - anchor) // MINUTE + 1
    closes = [77.0 if n == 200 else bar.close for n, bar in enumerate(_bars(237))][-told["klines"]["bars"] :]
    assert told["klines"]["values"]["EMA(5)"] == talib.EMA(np.array(closes), 5)[-1]
    assert told["candles"]["values"]["EMA(5)"] is not None


async def test_the_open_candle_is_peeked_and_leaves_the_closed_values_alone(stack) -> None:
    cache = aioredis.Redis.from_url(stack.redis_url)
    await cache.flushdb()
    signal = _signal()
    for n, one in enumerate(_klines(60)):
        signal.take("kline", one, n + 1)
    before = msgspec.json.decode(keys(signal)[b"indicators:one:BTC-USDT:1m"])["klines"]
    opened = footprint(T0 + 60 * MINUTE, 123.0, [2.0], [1.0], who=WHO, closed=False, sequence=9)
    await cache.set("footprint:one:BTC-USDT:1m", encoded(opened))
    await signal.poll(cache)
    during = msgspec.json.decode(keys(signal)[b"indicators:one:BTC-USDT:1m"])["klines"]
    assert during["values"] == before["values"]
    assert during["open_timestamp"] == T0 + 60 * MINUTE
    signal.take("kline", kline(T0 + 60 * MINUTE, 123.0, open=123.0, high=123.0, low=123.0, volume=3.0), 61)
    after = msgspec.json.decode(keys(signal)[b"indicators:one:BTC-USDT:1m"])["klines"]
    assert after["values"] == during["open_values"] != during["values"]
    await cache.flushdb()
    await cache.aclose()


def test_abstract_names_are_those_the_keys_carry() -> None:
    assert parse("MACD(12,26,9)").outputs == tuple(abstract.Function("MACD").info["output_names"])
