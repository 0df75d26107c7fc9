"""Recorded Binance frames, where they are at hand, against figures computed from their plain JSON."""

from __future__ import annotations

import io
import json
from math import fsum, isclose
from pathlib import Path

import pytest

from producers._decode import decode

FRAMES = Path(__file__).resolve().parent.parent.parent / "shared" / "frames"
FOLDERS = {"binance_spot": "binance", "binance_usdm": "binance_futures"}
SHAPE_ONLY = {"trade_stream.nautilus.jsonl"}
"""Quoted from documentation, with a time in 1973."""

pytestmark = pytest.mark.skipif(not FRAMES.is_dir(), reason="not run: the recorded frames are not here")


def _files(*patterns: str) -> list[Path]:
    return [path for folder in FOLDERS for pattern in patterns for path in sorted((FRAMES / folder).glob(pattern))]


def _decoded(path: Path) -> tuple[int, list[dict], str]:
    out, err = io.BytesIO(), io.StringIO()
    with path.open("rb") as lines:
        code = decode(FOLDERS[path.parent.name], lines, None, out, err)
    return code, [json.loads(line) for line in out.getvalue().splitlines()], err.getvalue()


@pytest.mark.parametrize("path", _files("*.jsonl"), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recorded_line_decodes_or_is_none_of_our_business(path: Path) -> None:
    code, _, errors = _decoded(path)
    if path.name in SHAPE_ONLY:
        assert code == 1
        assert errors.startswith("line 1: impossible timestamp 123456785")
    else:
        assert (code, errors) == (0, "")


@pytest.mark.parametrize("path", _files("trade.*", "aggTrade.*"), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_recorded_trades_keep_every_id_count_and_sum(path: Path) -> None:
    _, events, _ = _decoded(path)
    plain = [json.loads(line).get("data") for line in path.read_bytes().splitlines()]
    plain = [one for one in plain if one.get("X", "MARKET") in ("MARKET", "RPI")]
    assert [event["trade_id"] for event in events] == [
        str(one["t"] if one["e"] == "trade" else one["a"]) for one in plain
    ]
    assert [event["timestamp"] for event in events] == [one["T"] * 1000 for one in plain]
    assert fsum(event["quantity"] for event in events) == fsum(float(one["q"]) for one in plain)
    values = fsum(float(one["p"]) * float(one["q"]) for one in plain)
    assert isclose(fsum(event["value"] for event in events), values, rel_tol=1e-12)
    assert sum(event["is_buyer_maker"] for event in events) == sum(one["m"] for one in plain)
    assert [event["fills"] for event in events] == [one["l"] - one["f"] + 1 if "f" in one else 1 for one in plain]


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_ids_of_a_continuous_recording_have_no_hole(folder: str) -> None:
    _, events, _ = _decoded(FRAMES / folder / "trade.hftbacktest-2024.jsonl")
    for symbol in {event["symbol"] for event in events}:
        ids = [int(event["trade_id"]) for event in events if event["symbol"] == symbol]
        assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_a_recorded_sell_order_closes_a_long_at_the_average_price_and_filled_quantity() -> None:
    _, (event,), _ = _decoded(FRAMES / "binance_usdm" / "forceOrder.live-2026.jsonl")
    assert (event["side"], event["price"], event["quantity"]) == ("long", 3.85642, 116.5)
    assert event["coverage"] == "sampled"
