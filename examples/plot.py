"""Draw a footprint chart and the volume profile beside it into a PNG file.

python -m examples.plot binance BTC-USDT --interval 1m --last 12 --out footprint.png
"""

from __future__ import annotations

import argparse

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from flowtape.client import Client, FootprintCandle, Profile

BUY, SELL = "#2a9d8f", "#e76f51"


def draw_candle(axes: Axes, at: int, candle: FootprintCandle) -> None:
    """Cells of sells × buys, shaded by delta; the body as a line on the left."""
    most = max((buy + sell for buy, sell in zip(candle.buys, candle.sells, strict=True)), default=0.0) or 1.0
    for price, buy, sell in zip(candle.prices, candle.buys, candle.sells, strict=True):
        shade = min(1.0, abs(buy - sell) / most)
        axes.add_patch(Rectangle((at - 0.4, price), 0.8, candle.row, color=BUY if buy >= sell else SELL, alpha=shade))
        if len(candle.prices) <= 40 and buy + sell:
            axes.text(at, price + candle.row / 2, f"{sell:.3g} × {buy:.3g}", fontsize=5, ha="center", va="center")
    colour = BUY if candle.close >= candle.open else SELL
    axes.plot([at - 0.45, at - 0.45], [candle.open, candle.close], color=colour, linewidth=2)
    axes.add_patch(Rectangle((at - 0.4, candle.poc), 0.8, candle.row, fill=False, edgecolor="black", linewidth=0.8))


def draw(candles: list[FootprintCandle], profile: Profile, out: str) -> None:
    """Both, with one price axis."""
    mpl.use("Agg")
    figure, (left, right) = pyplot.subplots(
        1, 2, sharey=True, figsize=(max(6, len(candles)), 8), width_ratios=[4, 1], constrained_layout=True
    )
    for at, candle in enumerate(candles):
        draw_candle(left, at, candle)
    left.set_xlim(-0.6, len(candles) - 0.4)
    left.set_ylim(min(c.low for c in candles), max(c.high for c in candles) + candles[-1].row)
    left.set_xticks(range(len(candles)), [f"{c.delta:+.3g}" for c in candles], fontsize=6)
    left.set_xlabel("delta")
    left.set_title(f"{candles[0].exchange} {candles[0].symbol} {candles[0].interval}")
    right.barh(profile.prices, profile.buys, profile.row, align="edge", color=BUY)
    right.barh(profile.prices, profile.sells, profile.row, left=profile.buys, align="edge", color=SELL)
    if profile.poc is not None:
        right.axhline(profile.poc, color="black", linewidth=0.8)
    right.set_xlabel("volume")
    figure.savefig(out, dpi=120)


def main() -> None:
    """Read the arguments, then the data, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exchange")
    parser.add_argument("symbol")
    parser.add_argument("--interval", default="1m")
    parser.add_argument("--last", type=int, default=12, help="candles")
    parser.add_argument("--out", default="footprint.png")
    given = parser.parse_args()
    with Client() as flow:
        candles = flow.footprint(given.exchange, given.symbol, given.interval, last=given.last)
        if not candles:
            raise SystemExit(f"no candles of {given.exchange} {given.symbol} {given.interval}")
        profile = flow.profile(given.exchange, given.symbol, range_="session")
    draw(candles, profile, given.out)
    print(f"{len(candles)} candles in {given.out}")


if __name__ == "__main__":
    main()
