"""``make screenshots``: the pictures of the README, of a real stack with a simulated market."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.market_feed import FUTURES
from tests.test_page import CHROMIUM, site

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
MINUTES, RATE = 90, 16.0
BYTES_MAX, COLOURS = 200_000, 256
CHART = f"?exchange={FUTURES}&symbol=BTC-USDT-PERP"
PICTURES = {
    "footprint-dark": (CHART, "dark", 1440, 860),
    "footprint-light": (f"{CHART}&mode=delta", "light", 1440, 860),
    "operations": (f"{CHART}&view=operations", "dark", 1440, 1080),
    "phone": (CHART, "dark", 390, 844),
}
SETTLED_S = 8.0


def main() -> None:
    """Take them all. Exits with a message where Chromium is missing or a picture is too large."""
    if CHROMIUM is None:
        sys.exit("not run: chromium is not installed")
    with tempfile.TemporaryDirectory() as folder, site(Path(folder), MINUTES, RATE) as running:
        _take(running.url)


def _take(url: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, (query, theme, width, height) in PICTURES.items():
            small = width < 500
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=theme, is_mobile=small, has_touch=small
            )  # fmt: skip
            page = context.new_page()
            page.goto(url + query)
            _settle(page)
            file = FOLDER / f"{name}.png"
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, optimize=True)
            context.close()
            size = file.stat().st_size
            print(f"{file.name}  {size / 1000:.0f} kB")
            if size > BYTES_MAX:
                sys.exit(f"{file.name} is larger than {BYTES_MAX / 1000:.0f} kB")


def _settle(page: Page) -> None:
    page.wait_for_function("() => globalThis.flowtape?.page.feed?.candles.size > 5", timeout=60_000)
    page.locator("#state[data-state=live]").wait_for(timeout=120_000)  # the engine has caught up
    time.sleep(SETTLED_S)


if __name__ == "__main__":
    main()
