"""``python -m benchmarks.page``: the page in Chromium on a market of its own: first candle, trade to pixel, drawing.

Each figure is the least and the median: on a machine that does other things, the least is the page's own.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.market_feed import SPOT
from tests.test_page import CHROMIUM, MINUTES, RATE, site

VISITS, DRAWS = 8, 60
LISTENED_MS = 20_000
WATCH = """globalThis.firstCandle = 0;
requestAnimationFrame(function look() {
    const page = globalThis.flowtape?.page;
    if (page?.painted > 0 && page.chart.view.drawn.bars > 0) globalThis.firstCandle = performance.now();
    else requestAnimationFrame(look);
});"""
USUAL, WIDE = (1440, 860), (3840, 1400)
"""Screens; the wide one holds 200 candles with cells."""
LATENCY = """async (listened) => {
    const { page } = flowtape, found = [], until = performance.now() + listened;
    let before = page.painted;
    while (performance.now() < until) {
        await new Promise(requestAnimationFrame);
        if (page.painted !== before) found.push(Date.now() - page.feed.candles.last.as_of / 1000);
        before = page.painted;
    }
    return found;
}"""
"""From the exchange's time of the newest trade to the frame that shows it, ms."""
DRAWING = """async ([mode, spacing, draws]) => {
    const { page } = flowtape, { chart } = page;
    page.feed.end();
    const base = page.feed.candles.last, row = base.tick * 10, candles = [];
    for (let n = 0; n < 200; n += 1) {
        const low = Math.round((base.close + 200 * base.tick * Math.sin(n / 9)) / row) * row;
        const cells = Array.from({ length: 60 }, (_, k) => k);
        candles.push({ ...base, row, timestamp: base.timestamp + (n - 200) * 60e6, low, high: low + 60 * row,
            open: low + 10 * row, close: low + 50 * row, prices: cells.map((k) => low + k * row), complete: true,
            buys: cells.map((k) => ((k * 7919 + n * 104729) % 97) / 10),
            sells: cells.map((k) => ((k * 104729 + n * 7919) % 89) / 10) });
    }
    chart.setMode(mode, 1);
    chart.setCandles(candles);
    chart.time.applyOptions({ barSpacing: spacing });
    chart.toNow();
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    await frame();
    const renderer = chart.view.renderer(), draw = renderer.draw.bind(renderer), times = [];
    renderer.draw = (...given) => {
        const begin = performance.now();
        draw(...given);
        times.push(performance.now() - begin);
    };
    for (let n = 0; n < draws; n += 1) {
        chart.footprint.applyOptions({});
        await frame();
    }
    return [times, chart.view.drawn.bars, chart.view.drawn.texts];
}"""


def main() -> None:
    """Measure everything and print it. Exits with a message where Chromium is missing."""
    if CHROMIUM is None:
        sys.exit("not run: chromium is not installed")
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), MINUTES, RATE) as running:
        measure(running.url)


def measure(url: str) -> None:
    """The figures of the page at ``url``."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        _tell("first candle", [_visited(browser, url, USUAL, _first) for _ in range(VISITS)])
        _tell("trade to pixel", _visited(browser, url, USUAL, lambda page: page.evaluate(LATENCY, LISTENED_MS)))
        for spacing in (18.4, 78):
            for mode in ("cells", "delta", "volume"):
                given = [mode, spacing, DRAWS]
                look = partial(Page.evaluate, expression=DRAWING, arg=given)
                times, bars, texts = _visited(browser, url, WIDE, look)
                _tell(f"draw {bars} candles x 60 rows, {texts} texts, {mode}", times)
        browser.close()


def _visited(browser: Browser, url: str, size: tuple[int, int], look: Callable[[Page], Any]) -> Any:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(f"{url}?exchange={SPOT}&symbol=BTC-USDT")
        page.wait_for_function("() => globalThis.firstCandle > 0")
        return look(page)
    finally:
        context.close()


def _first(page: Page) -> float:
    return float(page.evaluate("globalThis.firstCandle"))


def _tell(what: str, times_ms: list[float]) -> None:
    print(f"{what:55} least {min(times_ms):7.1f} ms   median {median(times_ms):7.1f} ms   of {len(times_ms)}")


if __name__ == "__main__":
    main()
