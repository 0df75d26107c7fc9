"""The strategy of the paper bot over the past: `flowtape replay` and `flowtape signal` on a prefix of their own.

    python -m examples.backtest binance BTC-USDT --from 2026-11-24 --to 2026-11-25 --interval 5m

What the strategy sees is what it would have seen: candles at their close plus the second the engine waits, computed by
the code that computes the live ones, and fills by the trades after that.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from examples.strategy import Account, StackedImbalances
from flowtape.client import Client, FootprintCandle
from schemas.events import Trade
from schemas.time import SECOND, duration

PREFIX = "backtest"


def replay(begin: str, end: str) -> None:
    """Replay the span, and compute footprints from it, to their end."""
    command = [sys.executable, "-m", "flowtape"]
    subprocess.run(
        [*command, "replay", "--from", begin, "--to", end, "--speed", "max", "--prefix", PREFIX, "--again"], check=True
    )
    subprocess.run([*command, "signal", "footprint", "--prefix", PREFIX], check=True)


def trade_over(trades: list[Trade], candles: list[FootprintCandle], strategy: StackedImbalances) -> None:
    """Let the strategy see candles and trades in the order in which they could be known."""
    seen_at = sorted(
        (candle.timestamp + duration(candle.interval) + SECOND, number) for number, candle in enumerate(candles)
    )
    at = 0
    for trade in sorted(trades, key=lambda trade: trade.timestamp):
        while at < len(seen_at) and seen_at[at][0] <= trade.timestamp:
            strategy.on_candle(candles[seen_at[at][1]])
            at += 1
        strategy.account.on_trade(trade)


def main() -> None:
    """Read the arguments, replay, and trade."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchange")
    parser.add_argument("symbol")
    parser.add_argument("--from", dest="begin", required=True, help="ISO 8601 or µs")
    parser.add_argument("--to", dest="end", required=True, help="ISO 8601 or µs")
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--size", type=float, default=0.01, help="position, in base units")
    parser.add_argument("--stack", type=int, default=3, help="imbalanced rows that make a stack")
    given = parser.parse_args()
    replay(given.begin, given.end)
    who = f"{given.exchange}.{given.symbol}"
    with Client(prefix=PREFIX) as flow:
        trades = list(flow.subscribe(f"md.trade.{who}", since=1, follow=False))
        candles = list(flow.subscribe(f"sig.footprint.{who}.{given.interval}", since=1, follow=False))
    strategy = StackedImbalances(Account(), given.size, given.stack)
    trade_over(trades, candles, strategy)
    account = strategy.account
    fees = sum(fill.fee for fill in account.fills)
    print(f"{len(trades)} trades, {len(candles)} candles, {len(account.fills)} fills")
    print(f"position {account.position:+.4f}, P&L {account.profit:+.2f} with fees of {fees:.2f}")


if __name__ == "__main__":
    main()
