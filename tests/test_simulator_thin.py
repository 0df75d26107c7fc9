"""A market so thin that minutes pass without a trade: the simulated exchanges go on, and candles stay sound."""

from __future__ import annotations

import pytest

from schemas.events import Kline
from tests.living import START_MS, live


@pytest.mark.parametrize("exchange", ["kraken", "bybit_futures", "okx_futures", "deribit"])
async def test_minutes_without_a_trade_stop_no_exchange(exchange, tmp_path) -> None:
    async with live(exchange, tmp_path, symbols=4, rate=0.01) as it:
        await it.until(START_MS + 85_000)
        assert not it.simulator.turns.done(), it.simulator.turns.result()
        assert it.tray.letters == []
        assert all(e.low <= e.open <= e.high and e.volume >= 0.0 for e in it.tray.of(Kline))
