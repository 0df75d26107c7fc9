"""Recorded frames of Hyperliquid, Deribit and Bitget, where they are at hand, against their plain JSON."""

from __future__ import annotations

import io
import json
from collections import Counter
from math import isclose
from pathlib import Path

import pytest

from producers._decode import decode
from producers._exchange import load

FRAMES = Path(__file__).resolve().parent.parent.parent / "shared" / "frames"
FOLDERS = {"hyperliquid": ["hyperliquid"], "deribit": ["deribit"], "bitget": ["bitget", "bitget_futures"],
           "bitget_v1": ["bitget", "bitget_futures"]}  # fmt: skip
REFUSALS = {"error.nautilus.jsonl"}
"""An answer to a request that is not in the recording."""

pytestmark = pytest.mark.skipif(not FRAMES.is_dir(), reason="not run: the recorded frames are not here")


def files():
    for folder, exchanges in FOLDERS.items():
        for path in sorted((FRAMES / folder).glob("*.jsonl")):
            if not path.name.startswith("rest_"):
                yield from (pytest.param(exchange, path, id=f"{exchange}-{path.name}") for exchange in exchanges)


def decoded(exchange, path):
    out, err = io.BytesIO(), io.StringIO()
    code = decode(exchange, path.read_bytes().splitlines(), None, out, err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


@pytest.mark.parametrize(("exchange", "path"), list(files()))
def test_every_recorded_line_decodes_or_is_none_of_our_business(exchange, path):
    code, events, errors = decoded(exchange, path)
    assert (code, errors.startswith("line 1: the exchange says:")) == (
        (1, True) if path.name in REFUSALS else (0, False)
    )
    if path.parent.name == "bitget_v1":
        assert not events, "a version whose trades had no id"


@pytest.mark.parametrize("name", ["trade.hftbacktest-2025.jsonl", "trade.tardis-tests.jsonl"])
def test_recorded_trades_of_hyperliquid_keep_every_id_and_sum(name):
    path = FRAMES / "hyperliquid" / name
    _, events, _ = decoded("hyperliquid", path)
    plain = [row for line in path.read_bytes().splitlines() for row in json.loads(line)["data"]]
    assert [event["trade_id"] for event in events] == [str(row["tid"]) for row in plain]
    assert [event["timestamp"] for event in events] == [row["time"] * 1000 for row in plain]
    assert [event["is_buyer_maker"] for event in events] == [row["side"] == "A" for row in plain]
    assert sum(e["quantity"] for e in events) == sum(float(row["sz"]) for row in plain)
    assert isclose(sum(e["value"] for e in events), sum(float(row["px"]) * float(row["sz"]) for row in plain))


def test_recorded_books_of_hyperliquid_are_the_first_of_their_second():
    path = FRAMES / "hyperliquid" / "book.hftbacktest-2025.jsonl"
    _, events, _ = decoded("hyperliquid", path)
    plain = [json.loads(line)["data"] for line in path.read_bytes().splitlines()]
    first = {}
    for one in plain:
        first.setdefault(one["time"] // 1000, one)
    assert [event["sequence"] for event in events] == [one["time"] for one in first.values()]
    for event, one in zip(events, first.values(), strict=True):
        sides = [[[float(level["px"]), float(level["sz"])] for level in side] for side in one["levels"]]
        assert [event["bids"], event["asks"]] == sides


def test_recorded_dollars_of_deribit_stay_dollars():
    trades, interests = [], []
    for name in ("wsAllTrades.gct-testdata.jsonl", "ws_trades.gct-tests.jsonl"):
        trades += decoded("deribit", FRAMES / "deribit" / name)[1]
    assert Counter(event["symbol"] for event in trades) == {"BTC-USD-BTC-PERP": 3}
    assert [event["value"] for event in trades] == [8430.0, 580.0, 10.0]
    assert all(isclose(event["quantity"] * event["price"], event["value"]) for event in trades)
    for name in ("ticker.nautilus.jsonl", "ticker.tardis-tests.jsonl"):
        interests += [e for e in decoded("deribit", FRAMES / "deribit" / name)[1] if e["kind"] == "open_interest"]
    assert [event["value"] for event in interests] == [1132329370.0, 66128281.0, 84844461.0]


def test_recorded_trades_of_bitget_keep_their_ids():
    _, events, _ = decoded("bitget", FRAMES / "bitget" / "trade.tardis-tests.jsonl")
    assert [(e["symbol"], e["trade_id"], e["is_buyer_maker"]) for e in events] == [
        ("BTC-USDT", "1235671058980749319", False),
        ("SNEK-USDT", "1235670809402884097", True),
    ]


@pytest.mark.parametrize(
    ("exchange", "name", "count"),
    [
        ("deribit", "deribit/rest_api_v2_public_get_instruments_currency_BTC_expired_false.cryptofeed.json", 8),
        ("deribit", "deribit/rest_api_v2_public_get_instruments_currency_USDC_expired_false.cryptofeed.json", 16),
        ("hyperliquid", "hyperliquid/rest_meta_perp_sample.nautilus.json", 3),
    ],
)
def test_recorded_instrument_lists_are_read(exchange, name, count):
    found = load(exchange).instruments((FRAMES / name).read_bytes())
    assert len({instrument.symbol for instrument in found}) == len(found) == count
    for instrument in found:
        assert load(exchange).spelled(instrument.symbol) == instrument.exchange_symbol
        assert load(exchange).named(instrument.exchange_symbol).symbol == instrument.symbol
