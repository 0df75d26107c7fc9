"""A paper-trading bot: stacked imbalances as they close, orders filled against the live trades, profit printed.

python -m examples.paper_bot binance BTC-USDT --interval 1m --for 600
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from examples.strategy import Account, StackedImbalances
from flowtape.client import AsyncClient, FootprintCandle


async def run(flow: AsyncClient, exchange: str, symbol: str, interval: str, strategy: StackedImbalances) -> None:
    """Trade until cancelled."""
    account = strategy.account

    async def on_candle(candle: FootprintCandle) -> None:
        if await flow.is_live(exchange, symbol):  # a feed that is not fresh is no ground to trade on
            strategy.on_candle(candle)

    async def fill() -> None:
        async for trade in flow.subscribe(f"md.trade.{exchange}.{symbol}"):
            if fill := account.on_trade(trade):
                print(
                    f"{fill.quantity:+.4f} at {fill.price}  position {account.position:+.4f}  P&L {account.profit:+.2f}"
                )

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fill())
        tasks.create_task(flow.on_candle(on_candle, exchange, symbol, interval))


async def main() -> None:
    """Read the arguments and trade for so long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchange")
    parser.add_argument("symbol")
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--size", type=float, default=0.01, help="position, in base units")
    parser.add_argument("--stack", type=int, default=3, help="imbalanced rows that make a stack")
    parser.add_argument("--for", dest="seconds", type=float, default=None, help="stop after so many seconds")
    given = parser.parse_args()
    strategy = StackedImbalances(Account(), given.size, given.stack)
    async with AsyncClient() as flow:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                run(flow, given.exchange, given.symbol, given.interval, strategy), timeout=given.seconds
            )
    account = strategy.account
    print(f"{len(account.fills)} fills, position {account.position:+.4f}, P&L {account.profit:+.2f}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
