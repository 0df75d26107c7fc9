"""The page in a real Chromium, used as a person would: on real servers, a real engine and a market that is known."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import os
import shutil
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from flowtape.migrate import provision
from schemas.events import Gap, encode
from schemas.names import HEADER_ORIGIN, HEADER_REASON, dead_subject
from tests.conftest import Stack, free_port, started
from tests.harness import Command, commands
from tests.market_feed import DOLLAR, SPOT, SUM, MarketFeed

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="not run: chromium is not installed")
WAIT_MS = 60_000
MINUTES, RATE = 230, 3.0
"""More than Redis keeps, so that the rest must come from the tables."""
MINUTE_US = 60_000_000


class Demo:
    """A stack with its page, and the market that feeds it."""

    def __init__(self, stack: Stack, url: str, web: Command, feed: MarketFeed) -> None:
        self.stack, self.url, self.web, self.feed = stack, url, web, feed


@contextlib.contextmanager
def site(folder: Path, minutes: int, rate: float) -> Iterator[Demo]:
    """A page that is live, on servers of its own, with so many minutes of history."""
    with started(folder) as stack:
        asyncio.run(provision(stack.settings, lambda _line: None))
        port = free_port()
        url = f"http://127.0.0.1:{port}/"
        with commands(stack, ("signal",), ("consume",), ("web",), FLOWTAPE_WEB_PORT=str(port)) as (_, _, web):
            feed = MarketFeed(stack.settings, rate=rate)
            feed.start(minutes)
            try:
                _until_live(url, minutes)
                yield Demo(stack, url, web, feed)
            finally:
                feed.stop()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with site(tmp_path_factory.mktemp("page"), MINUTES, RATE) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """One visitor with a fresh profile; what the browser complains of is kept."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context: BrowserContext = browser.new_context(**{"viewport": {"width": 1440, "height": 860}, **options})
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = url

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, query: str = f"?exchange={SPOT}&symbol=BTC-USDT") -> Page:
        """Open the page and wait until candles are drawn."""
        self.page.goto(self.url + query)
        self.until("page.feed?.candles.size > 5 && page.painted > 0")
        return self.page

    def value(self, expression: str) -> Any:
        """What an expression over ``page`` gives in the browser."""
        return self.page.evaluate(
            f"(() => {{ const page = globalThis.flowtape?.page; return page && ({expression}); }})()"
        )

    def until(self, expression: str) -> None:
        """Wait until it is true."""
        self.page.wait_for_function(
            f"() => {{ const page = globalThis.flowtape?.page; return page && ({expression}); }}"
        )


@pytest.fixture
def visit(demo: Demo, browser: Browser) -> Iterator[Callable[..., Visit]]:
    made: list[Visit] = []

    def make(**options: Any) -> Visit:
        made.append(Visit(browser, demo.url, **options))
        return made[-1]

    yield make
    for each in made:
        each.context.close()


def _live(url: str, minutes: int) -> bool:
    """Whether there are footprints of all that the market trades and of a sum, and of its beginning in the tables."""

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"{url}api/{path}", timeout=10) as answer:
            return json.load(answer)

    early = time.time_ns() // 1000 - (minutes - 5) * MINUTE_US
    query = f"exchange={SPOT}&symbol=BTC-USDT&interval=1m&to={early}"
    try:
        live = ask("instruments?live=true")["instruments"]
        exchanges = [each["exchange"] for each in live]
        whole = len(set(exchanges) - {SUM}) == 3 and exchanges.count(SPOT) == 2 and SUM in exchanges
        return whole and bool(ask(f"footprint?{query}")["candles"])
    except OSError:
        return False


def _until_live(url: str, minutes: int, seconds: float = 300) -> None:
    """Wait until the page has so much to show."""
    deadline = time.monotonic() + seconds
    while not _live(url, minutes):
        assert time.monotonic() < deadline, "no footprints came"
        time.sleep(0.1)


def test_a_visitor_sees_live_footprints_and_the_browser_has_nothing_to_complain_of(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.open("")
    page.locator("#state[data-state=live]").wait_for()
    before = visitor.value("page.feed.candles.last.sequence")
    visitor.until(f"page.painted > {before}")
    assert visitor.value("page.chart.view.drawn.cells") == 1
    assert visitor.value("page.chart.view.drawn.texts") > 20
    visitor.until("page.tape.count > 3")
    assert float(page.locator("#last").inner_text()) > 0
    assert "Lightweight Charts" in page.locator("#foot").inner_text()
    assert visitor.complaints == []


def test_every_number_on_screen_is_the_api_s_and_the_page_s_own_rows_agree_with_the_engine_s(
    visit: Callable[..., Visit],
) -> None:
    visitor = visit()
    page = visitor.open()
    answer = page.evaluate(
        f"async () => (await fetch('api/footprint?exchange={SPOT}&symbol=BTC-USDT&interval=1m&limit=30')).json()"
    )
    closed = [candle for candle in answer["candles"] if candle["closed"]]
    assert len(closed) > 20
    for candle in closed:
        visitor.until(f"page.feed.candles.at({candle['timestamp']})?.closed")  # the socket may bring it a moment later
        held = visitor.value(f"page.feed.candles.at({candle['timestamp']})")
        assert held["prices"] == candle["prices"]
        assert (held["buys"], held["sells"], held["delta"]) == (candle["buys"], candle["sells"], candle["delta"])
    grouped = page.evaluate("""async () => {
        const { rowsOf, ownTicks } = await import("./js/rows.js");
        return [...flowtape.page.feed.candles].filter((candle) => candle.closed).map((candle) => {
            const rows = rowsOf(candle, ownTicks(candle));
            const marks = [...rows.marks].flatMap((mark, n) => [[1, "buy"], [2, "sell"]]
                .filter(([bit]) => mark & bit).map(([, side]) => [Math.round(rows.low(n) * 100), side]));
            const told = candle.imbalances.map(({ price, side }) => [Math.round(price * 100), side]);
            return { poc: [rows.low(rows.poc), candle.poc],
                marks: marks.map(String).sort(), imbalances: told.map(String).sort(),
                area: [rows.low(rows.area[0]), rows.low(rows.area[1]), candle.val, candle.vah],
                stacks: [rows.stacks.length, candle.stacks.length] };
        });
    }""")
    assert any(candle["imbalances"] for candle in grouped)
    for candle in grouped:
        assert candle["poc"][0] == pytest.approx(candle["poc"][1])
        assert candle["area"][:2] == pytest.approx(candle["area"][2:])
        assert candle["marks"] == candle["imbalances"]
        assert candle["stacks"][0] == candle["stacks"][1]


RECORDED = """globalThis.written = [];
const { fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.fillText = function (text, ...where) {
    globalThis.written.push(String(text));
    return fillText.call(this, text, ...where);
};"""
"""Every text that is drawn."""


def test_the_cells_that_are_drawn_say_what_a_query_on_the_table_of_trades_gives(
    visit: Callable[..., Visit], demo: Demo
) -> None:
    visitor = visit()
    visitor.page.add_init_script(RECORDED)
    page = visitor.open()
    visitor.until("page.chart.view.drawn.texts > 20")
    page.evaluate("written.length = 0; flowtape.page.chart.footprint.applyOptions({})")
    page.evaluate(NEXT_FRAME)
    seen = visitor.value("""{ written: [...written], ticks: page.chart.view.drawn.ticks,
        range: page.chart.time.getVisibleLogicalRange(), tick: page.feed.candles.last.tick,
        times: page.feed.candles.times, closed: [...page.feed.candles].map((candle) => candle.closed) }""")
    written, checked = set(seen["written"]), 0
    for n in range(math.ceil(seen["range"]["from"]) + 1, len(seen["times"]) - 3):  # the table has had time for these
        assert seen["closed"][n]
        rows = _rows_of_trades(demo, seen["times"][n], round(seen["ticks"] * seen["tick"] * 100))
        texts = {_size(size) for sides in rows.values() for size in sides}
        assert texts <= written, (texts - written, rows)
        checked += len(texts)
    assert checked > 50


def _rows_of_trades(demo: Demo, begin: int, row: int) -> dict[int, list[float]]:
    """Sold and bought by price row, of rows ``row`` cents high, in the minute from ``begin`` on; asked in SQL."""
    sql = (
        f"SELECT price, quantity, is_buyer_maker FROM trades WHERE exchange = '{SPOT}' AND symbol = 'BTC-USDT'"
        f" AND timestamp >= {begin}::timestamp AND timestamp < {begin + MINUTE_US}::timestamp"
    )
    query = urllib.parse.urlencode({"query": sql})
    with urllib.request.urlopen(f"{demo.stack.settings.questdb.http}/exec?{query}", timeout=30) as answer:
        trades = json.load(answer)["dataset"]
    assert len(trades) > 20
    rows: dict[int, list[float]] = {}
    for price, quantity, maker in trades:
        rows.setdefault(round(price * 100) // row, [0.0, 0.0])[0 if maker else 1] += quantity
    return rows


def _size(value: float) -> str:
    """A size as the page writes it."""
    value = round(value, 9)
    if value >= 1000:
        return "more than a minute has"
    if value >= 1:
        return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"
    return "0" if value == 0 else f"{value:.3f}"[1:] if value >= 0.0005 else "·"


def test_all_exchanges_summed_are_chosen_like_one_and_drawn_with_profile_delta_and_tape(
    visit: Callable[..., Visit],
) -> None:
    visitor = visit()
    page = visitor.open()
    page.keyboard.press("/")
    page.keyboard.type("btc-usd sim_all")
    page.keyboard.press("Enter")
    visitor.until(f"page.feed.exchange === '{SUM}' && page.feed.symbol === 'BTC-USD' && page.feed.candles.size > 5")
    visitor.until("page.chart.view.drawn.texts > 20 && page.layers.profile.summary?.buy > 0")
    page.locator("#state[data-state=live]").wait_for()
    assert visitor.value("page.members") == [f"{SPOT}:BTC-USDT", f"{DOLLAR}:BTC-USD"]
    assert visitor.value("page.chart.series('cvd').data().length") > 5
    for where in ("binance", "coinbase"):
        page.locator(".print .where", has_text=where).first.wait_for()
    both = page.evaluate(f"""async () => {{
        const ask = async (exchange, symbol) =>
            (await (await fetch(`api/footprint?exchange=${{exchange}}&symbol=${{symbol}}&limit=30`)).json()).candles;
        return [await ask("{SPOT}", "BTC-USDT"), await ask("{DOLLAR}", "BTC-USD")];
    }}""")
    one, other = ({candle["timestamp"]: candle for candle in candles if candle["closed"]} for candles in both)
    at = sorted(one.keys() & other.keys())
    assert len(at) > 15
    for begin in at:
        trades = one[begin]["trades"] + other[begin]["trades"]
        visitor.until(f"page.feed.candles.at({begin})?.trades === {trades}")  # sums follow their members
        held = visitor.value(f"page.feed.candles.at({begin})")
        for field in ("buy", "sell", "delta"):
            assert held[field] == pytest.approx(one[begin][field] + other[begin][field]), field
        assert sum(held["buys"]) == pytest.approx(held["buy"])
        assert held["high"] == max(one[begin]["high"], other[begin]["high"])
    assert visitor.complaints == []


def test_putting_rows_together_loses_no_volume(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.open()
    sums = page.evaluate("""async () => {
        const { rowsOf, ownTicks } = await import("./js/rows.js");
        const total = (list) => list.reduce((a, b) => a + b, 0);
        return [...flowtape.page.feed.candles].flatMap((candle) => [1, 2, 4, 8, 64].map((factor) => {
            const rows = rowsOf(candle, factor * ownTicks(candle));
            return [total(rows.buys), total(rows.sells), candle.buy, candle.sell, rows.count];
        }));
    }""")
    for bought, sold, buy, sell, _ in sums:
        assert (bought, sold) == pytest.approx((buy, sell), rel=1e-9)
    assert min(rows for *_, rows in sums) < 5


def test_candles_whose_ticks_differ_are_drawn_with_rows_of_one_height(visit: Callable[..., Visit]) -> None:
    """An exchange changes its tick; a sum gains a member with a finer one."""
    page = visit().open()
    drawn = page.evaluate("""async () => {
        const { rowsOf, sum } = await import("./js/rows.js");
        const candle = (tick) => ({ tick, row: 2, prices: [100, 102, 104], buys: [1, 2, 3], sells: [0, 0, 1] });
        const [coarse, fine] = [candle(0.5), candle(0.01)];
        const edges = (rows) => [...Array(rows.count + 1).keys()].map((n) => rows.low(n));
        const ways = [[coarse, fine, 400], [fine, coarse, 8]];
        return ways.map(([first, last, ticks]) => {
            const both = sum([first, last], ticks);
            return [edges(rowsOf(first, ticks, last.tick)), edges(rowsOf(last, ticks)), edges(both), [...both.buys]];
        });
    }""")
    rows = [100.0, 104.0, 108.0]
    assert drawn == [[rows, rows, rows, [6, 6]]] * 2


def test_symbol_interval_and_cells_are_chosen_by_keys_and_shared_by_the_address(
    visit: Callable[..., Visit], browser: Browser, demo: Demo
) -> None:
    visitor = visit()
    page = visitor.open()
    page.keyboard.press("/")
    page.keyboard.type("eth binance")
    page.keyboard.press("Enter")
    visitor.until("page.feed.symbol === 'ETH-USDT' && page.feed.candles.size > 5")
    page.keyboard.press("1")
    visitor.until("page.feed.interval === '10s' && page.feed.candles.size > 5")
    page.keyboard.press("m")
    page.keyboard.press("]")
    page.wait_for_url("**/?*mode=delta&row=1*")
    assert page.locator(".instrument").inner_text().startswith("ETH-USDT")
    other = visit()
    other.open(page.url.removeprefix(demo.url))
    assert [other.value(f"page.settings.get('{name}')") for name in ("symbol", "interval", "mode", "row")] == [
        "ETH-USDT",
        "10s",
        "delta",
        1,
    ]
    other.page.locator("select[data-setting=mode]").select_option("volume")
    other.until("page.settings.get('mode') === 'volume'")
    assert visitor.complaints == other.complaints == []


def test_zooming_out_turns_cells_into_candles_and_back_and_hovering_shows_that_candle(
    visit: Callable[..., Visit],
) -> None:
    visitor = visit()
    page = visitor.open()
    page.locator("#chart").focus()
    before = visitor.value("page.chart.time.options().barSpacing")
    shares = []
    for _ in range(14):
        page.keyboard.press("-")
        page.evaluate(NEXT_FRAME)
        shares.append(visitor.value("page.chart.view.drawn.cells"))
    assert shares[-1] == 0
    assert any(0 < share < 1 for share in shares), "it jumped"
    assert shares == sorted(shares, reverse=True)
    page.evaluate(KEYS_IN_ONE_FRAME, ["+", 14])
    visitor.until("page.chart.view.drawn.cells === 1")
    assert visitor.value("page.chart.time.options().barSpacing") == pytest.approx(before)
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.35, box["y"] + box["height"] * 0.3)
    visitor.until("page.hovered && page.hovered !== page.feed.candles.last.timestamp")
    visitor.until(
        "document.querySelector('[data-field=C]').textContent === page.feed.candles.at(page.hovered).close.toFixed(2)"
    )


NEXT_FRAME = "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
KEYS_IN_ONE_FRAME = """([key, count]) => {
    const press = () => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    for (let n = 0; n < count; n += 1) press();
}"""
"""As keys come on a slow machine."""


def test_keys_that_come_within_one_frame_all_move_the_chart(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.open()
    before = visitor.value("page.chart.time.scrollPosition()")
    page.evaluate(KEYS_IN_ONE_FRAME, ["ArrowLeft", 5])
    visitor.until(f"Math.abs(page.chart.time.scrollPosition() - ({before} - 15)) < 1.5")  # a new candle moves it by one


def test_older_candles_come_when_the_chart_is_moved_to_the_right(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.open(f"?exchange={SPOT}&symbol=BTC-USDT&interval=1m")
    before = visitor.value("page.feed.candles.size")
    assert visitor.value("page.feed.more")
    page.evaluate("flowtape.page.chart.time.scrollToPosition(-170, false)")
    visitor.until(f"page.feed.candles.size > {before} + 20")
    times = visitor.value("page.feed.candles.times")
    assert {after - before for before, after in itertools.pairwise(times)} == {MINUTE_US}


def test_a_lost_socket_is_said_and_the_chart_goes_on_where_it_stood(visit: Callable[..., Visit], demo: Demo) -> None:
    visitor = visit()
    page = visitor.open()
    page.locator("#state[data-state=live]").wait_for()
    demo.web.kill()
    try:
        page.locator("#state[data-state=lost]").wait_for()
        assert "stale since" in page.locator("#state").inner_text()
        assert page.locator(".stage[data-stale]").count() == 1
        last = visitor.value("page.feed.candles.last.sequence")
    finally:
        demo.web.start()
    page.locator("#state[data-state=live]").wait_for()
    visitor.until(f"page.painted > {last}")
    assert visitor.value("page.socket.reconnects") == 1
    times = visitor.value("page.feed.candles.times")
    assert {after - before for before, after in itertools.pairwise(times)} == {MINUTE_US}


def test_a_silent_feed_is_shown_as_stale_with_its_time_and_live_again_when_it_speaks(
    visit: Callable[..., Visit], demo: Demo
) -> None:
    visitor = visit()
    page = visitor.open()
    page.locator("#state[data-state=live]").wait_for()
    demo.feed.running.clear()
    try:
        page.locator("#state[data-state=stale]").wait_for()
        assert page.locator("#state").inner_text().startswith("stale since ")
    finally:
        demo.feed.running.set()
    page.locator("#state[data-state=live]").wait_for()


def test_a_gap_puts_a_badge_on_its_candle_and_filling_it_takes_the_badge_away(
    visit: Callable[..., Visit], demo: Demo
) -> None:
    visitor = visit()
    page = visitor.open()
    assert page.locator("#incomplete").is_hidden()
    candles = visitor.value("page.feed.candles.times")
    begin, now = candles[-4], time.time_ns() // 1000

    def gap(status: str, updated: int, revision: int) -> Gap:
        return Gap(
            SPOT, "BTC-USDT", begin, now, "trades", "7", "9", begin, begin + 20_000_000, "disconnect", status,
            3, 3 if status == "filled" else 0, "", updated, revision,
        )  # fmt: skip

    demo.feed.publish(gap("open", now, 0))
    page.locator("#incomplete").wait_for()
    visitor.until(f"page.feed.candles.at({begin}).complete === false")
    page.locator("#gaps").wait_for()
    demo.feed.publish(gap("filled", now + 1, 1))
    visitor.until(f"page.feed.candles.at({begin}).complete === true")
    page.locator("#incomplete").wait_for(state="hidden")
    page.locator("#gaps").wait_for(state="hidden")


def test_the_profile_of_a_dragged_stretch_and_of_what_is_visible_sums_those_candles(
    visit: Callable[..., Visit],
) -> None:
    visitor = visit()
    page = visitor.open()
    page.locator("select[data-setting=range]").select_option("visible")
    visitor.until("page.layers.profile.summary")
    box = page.locator("#chart").bounding_box()
    y = box["y"] + box["height"] * 0.3
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + 200, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 520, y, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    visitor.until("page.settings.get('range') === 'fixed' && page.layers.fixed")
    begin, end = visitor.value("page.layers.fixed")
    total = visitor.value(f"page.feed.candles.between({begin}, {end}).reduce((sum, candle) => sum + candle.buy, 0)")
    assert visitor.value(f"page.feed.candles.between({begin}, {end}).length") >= 3
    assert visitor.value("page.layers.profile.summary")["buy"] == pytest.approx(total)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_both_themes_can_be_read_and_follow_the_system(visit: Callable[..., Visit], theme: str) -> None:
    visitor = visit(color_scheme=theme)
    page = visitor.open()
    assert page.locator("html").get_attribute("data-theme") == theme
    for selector in (".instrument", "#state", ".legend b", ".foot", ".print .when", "#bar button[aria-pressed=false]"):
        assert _contrast(page, selector) >= 4.5, selector
    page.keyboard.press("d")
    assert page.locator("html").get_attribute("data-theme") != theme
    page.reload()
    visitor.until("page.feed?.candles.size > 5")
    assert page.locator("html").get_attribute("data-theme") != theme


def _contrast(page: Page, selector: str) -> float:
    page.locator(selector).first.wait_for()
    return page.evaluate(
        """(selector) => {
        const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const light = (parts) => parts.slice(0, 3).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
            .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
        const node = document.querySelector(selector);
        let under = node;
        const solid = (each) => (numbers(getComputedStyle(each).backgroundColor)[3] ?? 1) === 1;
        while (under.parentElement && !solid(under)) under = under.parentElement;
        const pair = [getComputedStyle(node).color, getComputedStyle(under).backgroundColor].map(numbers).map(light);
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        }""",
        selector,
    )


def test_on_a_phone_everything_is_in_reach_and_nothing_sticks_out(visit: Callable[..., Visit]) -> None:
    visitor = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = visitor.open()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    chart = page.locator("#chart").bounding_box()
    assert chart["width"] == 390
    assert chart["height"] > 300
    for selector in (".instrument", "#state", "#helpButton", "#theme"):
        box = page.locator(selector).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390, selector
    page.locator(".instrument").tap()
    page.locator("#picker[open]").wait_for()
    assert page.locator("#picker").bounding_box()["width"] <= 390
    assert visitor.complaints == []


SHIFTS = """globalThis.shift = 0;
new PerformanceObserver((list) => {
    const inTape = ({ node }) => Boolean((node?.closest ? node : node?.parentElement)?.closest(".prints"));
    for (const entry of list.getEntries()) if (!entry.sources.every(inTape)) globalThis.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""
"""What has moved; the tape, which moves by nature, left out."""


def test_nothing_moves_once_it_is_there_and_help_opens_by_key_and_closes_by_escape(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    visitor.page.add_init_script(SHIFTS)
    page = visitor.open()
    page.locator("#state[data-state=live]").wait_for()
    visitor.until("page.tape.count > 3")
    assert page.evaluate("globalThis.shift") < 0.02
    page.keyboard.press("?")
    page.locator("#help[open]").wait_for()
    assert "Apache License" in page.locator("#help").inner_text()
    page.keyboard.press("Escape")
    page.locator("#help[open]").wait_for(state="detached")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_no_inline_script_runs_and_names_from_outside_stay_text(visit: Callable[..., Visit], demo: Demo) -> None:
    markup = Path(__file__).parent.parent / "web" / "static" / "index.html"
    assert "<script>" not in markup.read_text()
    visitor = visit()
    page = visitor.open(f"?exchange={SPOT}&symbol=BTC-USDT&mode=%3Cb%3E&interval=%3Cimg%20src%3Dx%3E")
    assert visitor.value("page.settings.get('mode')") == "cells"
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    page.evaluate("flowtape.page.picker.learn([{ exchange: 'x', symbol: '<img src=x onerror=alert(1)>', live: true }])")
    page.keyboard.press("/")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert "<img" in page.locator("#picker").inner_text()


def test_operations_show_streams_feeds_and_lag_and_a_dead_letter_that_is_requeued_is_gone(
    visit: Callable[..., Visit], demo: Demo
) -> None:
    trade = demo.feed.trades("BTC-USDT", *_a_minute_ago())[0]
    letter = msgspec.structs.replace(trade, trade_id="letter-1")
    demo.feed.put(dead_subject("trade", SPOT), encode(letter), {HEADER_REASON: "<b>made up</b>", HEADER_ORIGIN: "test"})
    visitor = visit()
    page = visitor.page
    page.goto(f"{visitor.url}?exchange={SPOT}&symbol=BTC-USDT&view=operations")
    page.locator("[data-panel=streams] tr", has_text="MD_TRADE").wait_for()
    assert page.locator("[data-panel=streams] .meter").count() > 5
    page.locator("[data-panel=feeds] tr", has_text=f"{SPOT} BTC-USDT").locator(".good").first.wait_for()
    page.locator("[data-panel=tables] tr", has_text="trades").first.wait_for()
    page.locator("[data-panel=servers] .good").nth(2).wait_for()
    shown = page.locator("[data-panel=letters] details", has_text="made up").first
    shown.locator("summary").click()
    assert "<b>made up</b>" in shown.inner_text()
    assert "letter-1" in shown.locator("pre").inner_text()
    shown.get_by_role("button", name="Requeue").click()
    shown.locator(".hint", has_text=f"md.trade.{SPOT}.BTC-USDT").wait_for()
    page.reload()
    page.locator("[data-panel=letters]", has_text="No dead letters").wait_for()
    page.keyboard.press("o")
    visitor.until("page.settings.get('view') === 'chart' && page.feed.candles.size > 5")
    assert visitor.complaints == []


def _a_minute_ago() -> tuple[int, int]:
    now_ms = time.time_ns() // 1_000_000
    return now_ms - 90_000, now_ms - 30_000


def test_the_tape_puts_fills_of_one_order_together_leaves_small_ones_out_and_names_what_was_liquidated(
    visit: Callable[..., Visit],
) -> None:
    visitor = visit()
    page = visitor.open()
    taken = page.evaluate("""async () => {
        const { Prints } = await import("./js/prints.js");
        const prints = new Prints(1000);
        const trade = (timestamp, is_buyer_maker, quantity) =>
            ({ timestamp, price: 100, quantity, value: 100 * quantity, is_buyer_maker });
        prints.trade("a:B", trade(1, false, 6));
        prints.trade("a:B", trade(1, false, 5));
        prints.trade("a:B", trade(1, true, 5));
        prints.trade("a:B", trade(2, true, 20));
        const forced = { timestamp: 3, price: 100, quantity: 1, value: 100, side: "long", coverage: "sampled" };
        prints.liquidation("a:B", forced);
        const taken = prints.take();
        return { taken: taken.map((each) => [each.side, each.quantity, each.count, each.liquidation ?? ""]),
            bought: prints.bought };
    }""")
    assert taken["taken"] == [["buy", 11, 2, ""], ["sell", 20, 1, ""], ["sell", 1, 1, "long"]]
    assert taken["bought"] == pytest.approx(11 / 36)


def test_the_tape_begins_with_what_was_traded_before_and_shows_no_trade_twice(
    visit: Callable[..., Visit], demo: Demo
) -> None:
    visitor = visit()
    demo.feed.running.clear()
    try:
        page = visitor.open()
        visitor.until("page.tape.count > 5")
        newest = page.evaluate(f"""async () => {{
            const answer = await fetch("api/trades?exchange={SPOT}&symbol=BTC-USDT&limit=1");
            return (await answer.json()).trades.at(-1);
        }}""")
        shown = page.locator(".print").first.locator("span").all_inner_texts()
        assert shown[1] == f"{newest['price']:.2f}"
        assert shown[0] == time.strftime("%H:%M:%S", time.gmtime(newest["timestamp"] // 1_000_000))
    finally:
        demo.feed.running.set()
    page.locator(".print .when").first.filter(has_not_text=shown[0]).wait_for()
    prints = page.locator(".print:not([data-liquidation])").all_inner_texts()
    assert prints == sorted(prints, key=lambda text: text.split()[0], reverse=True)


def test_a_sum_says_which_of_its_feeds_is_silent_and_is_stale_when_all_are(visit: Callable[..., Visit]) -> None:
    page = visit().open()
    told = page.evaluate("""async () => {
        const { Freshness } = await import("./js/freshness.js");
        let now = 1e12;
        const keys = {}, socket = { connected: true, subscribe: (key, take) => { keys[key] = take; return () => {}; } };
        const freshness = new Freshness(() => now);
        const heard = (gaps) => ({ last_received: now * 1000, gaps_open: gaps });
        const judged = () => {
            const { state, text, why, gaps } = freshness.judge(socket);
            return [state, text, why ?? "", gaps];
        };
        freshness.follow(socket, ["a:B", "c:B"]);
        const told = [judged()];
        keys["live:a:B"](heard(1));
        told.push(judged());
        keys["live:c:B"](heard(2));
        told.push(judged());
        now += 3000;
        keys["live:a:B"](heard(1));
        keys["live:c:B"](null);
        told.push(judged());
        now += 60000;
        told.push(judged());
        freshness.follow(socket, ["a:B", "c:B"]);
        keys["live:a:B"](null);
        told.push(judged());
        keys["live:c:B"](null);
        told.push(judged());
        return told;
    }""")
    assert told == [
        ["waiting", "waiting", "", 0],
        ["live", "live", "", 1],
        ["live", "live", "", 3],
        ["partly", "1 of 2 live", "silent: c:B", 3],
        ["stale", "stale since 01:46:43", "the exchange's feed is silent", 3],
        ["waiting", "waiting", "", 0],
        ["stale", "no live data", "", 0],
    ]


@pytest.mark.soak
def test_memory_stays_flat_while_updates_come(visit: Callable[..., Visit]) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "0"))
    visitor = visit()
    page = visitor.open()
    heap = page.context.new_cdp_session(page)

    def used() -> int:
        heap.send("HeapProfiler.collectGarbage")
        return int(heap.send("Runtime.getHeapUsage")["usedSize"])

    page.evaluate(UPDATES, 300)
    before, seen = used(), visitor.value("page.socket.messages")
    page.evaluate(UPDATES, 3000)
    page.wait_for_timeout(min(minutes, 20) * 60_000)
    visitor.until(f"page.socket.messages > {seen}")
    assert used() - before < 6_000_000
    assert page.locator(".print").count() <= 160


UPDATES = """async (count) => {
    const { feed, chart, layers } = flowtape.page;
    for (let n = 0; n < count; n += 1) {
        const { last } = feed.candles;
        const next = { ...last, sequence: last.sequence + 1, buys: [...last.buys], sells: [...last.sells] };
        feed.candles.put(next);
        chart.update(next, false);
        layers.see(feed.candles, chart.time.getVisibleLogicalRange(), false);
        if (n % 100 === 0) await new Promise(requestAnimationFrame);
    }
}"""
"""The newest candle again and again, as the socket would bring it."""
