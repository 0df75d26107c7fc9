"""``flowtape top`` on a real pseudo-terminal, and its parts as text."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from flowtape.servers import free_port
from flowtape.top_view import footprint, screen
from tests.conftest import Stack, own_migrated
from tests.harness import commands, environment, eventually

BEAT = {
    "outbox": {"events": 500, "waiting": 7}, "connected": 1, "connections": 2, "frames": 900, "reconnects": 3,
    "gaps": {"open": 4}, "exchange_time": 9_000_000,
}  # fmt: skip


def text_of(shown) -> str:
    console = Console(width=160, record=True, file=open(os.devnull, "w"), color_system=None)  # noqa: SIM115
    with console.file:
        console.print(shown)
        return console.export_text()


def test_rates_are_what_came_since_the_last_look() -> None:
    before = {"as_of": 8_000_000, "workers": {"produce-x": BEAT | {"frames": 400, "outbox": {"events": 480}}}}
    workers = {"produce-x": BEAT, "web": {}, "new": {"outbox": {}}}
    now = {"as_of": 10_000_000, "workers": workers, "lag": 12, "problems": ["redis: away"]}
    hot = [("x", "A-B", 30, 1234.5, 9.5)]
    forced = [("x", "A-B", 9_000_000, 0, "L", "long", 1.0, 2.0, 3000.0, "all")]
    shown = text_of(screen(now, before, hot, forced, ("x", "A-B"), None, 40))
    (line,) = [line for line in shown.splitlines() if line.startswith("produce-x")]
    assert line.split() == ["produce-x", "1/2", "250", "10", "1.0", "s", "ago", "4", "3", "7"]
    assert "x:A-B" in shown
    assert "3,000" in shown
    assert "! redis: away" in shown
    assert "no footprint yet" in shown


def test_a_footprint_larger_than_the_screen_shows_the_rows_around_the_price() -> None:
    candle = {
        "open": 1.0, "close": 50.0, "delta": 1.0, "trades": 9, "poc": 50.0, "complete": False,
        "prices": [float(n) for n in range(100)], "sells": [1.0] * 100, "buys": [2.0] * 100,
    }  # fmt: skip
    shown = text_of(footprint(("x", "A-B"), candle, 10))
    prices = [float(found) for found in re.findall(r"1\.0000 +(\d+\.0) +2\.0000", shown)]
    assert prices == sorted(prices, reverse=True)
    assert len(prices) == 10
    assert 50.0 in prices
    assert "incomplete" in shown


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, stack: Stack, *arguments: str, rows: int = 50, columns: int = 140) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.set_blocking(self._ours, False)
        known = {name: text for name, text in environment(stack.settings).items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowtape", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
            env={**known, "TERM": "xterm-256color"}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C is a signal
        )  # fmt: skip
        os.close(theirs)
        self.seen = ""

    def read(self) -> str:
        """What has been drawn until now."""
        try:
            while part := os.read(self._ours, 65_536):
                self.seen += part.decode(errors="replace")
        except (BlockingIOError, OSError):
            pass
        return self.seen

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    async def until(self, holds, what: str) -> None:
        async def held():
            assert self.process.poll() is None, self.read()[-2000:]
            return holds(self.read())

        try:
            await eventually(held, what, 120)
        except AssertionError as error:
            raise AssertionError(f"{error}; drawn: {self.seen[-3000:]!r}") from error

    async def ended(self) -> int:
        """Its exit code; what it draws meanwhile is read, or it could not end."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it does not end"
            self.read()
            await asyncio.sleep(0.05)
        self.read()
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    yield from own_migrated(tmp_path_factory.mktemp("own"))


@pytest.fixture
def fed(migrated: Stack):
    port = free_port()
    prefix, where = "FLOWTAPE_EXCHANGES_SIM_BINANCE_", f"127.0.0.1:{port}/binance"
    extra = {f"{prefix}WS_URL": f"ws://{where}", f"{prefix}REST_URL": f"http://{where}", f"{prefix}SYMBOLS": '["*"]'}
    simulate = ("simulate", "--port", str(port), "--symbols", "2")
    with commands(migrated, simulate, ("produce", "sim_binance"), ("consume",), ("signal",), **extra):
        yield migrated


async def test_top_shows_a_footprint_switches_the_symbol_and_gives_the_terminal_back(fed: Stack) -> None:
    terminal = Terminal(fed, "top")
    try:
        await terminal.until(lambda seen: "\x1b[?1049h" in seen, "the whole screen is taken")
        await terminal.until(lambda seen: "produce-sim_binance" in seen, "exchanges are shown")

        async def switched():
            if len(footprints(terminal.read())) == 2:
                return True
            drawn = len(terminal.seen)
            terminal.press("n")  # once a while: the next of the hottest
            await terminal.until(lambda seen: seen[drawn:].count(" UTC ") >= 3, "what was read of it is drawn")
            return False

        await eventually(switched, "footprints of two symbols have been shown", 120)
        terminal.press("q")
        assert await terminal.ended() == 0
        assert terminal.seen.rstrip().rfind("\x1b[?1049l") > terminal.seen.rfind("\x1b[?1049h")
    finally:
        terminal.close()


def footprints(seen: str) -> set[str]:
    """The symbols whose footprint has been drawn."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    return set(re.findall(r"(sim_binance:\S+) 1m open", plain))


async def test_ctrl_c_ends_top_with_130(migrated: Stack) -> None:
    terminal = Terminal(migrated, "top")
    try:
        await terminal.until(lambda seen: "lag" in seen and "hottest" in seen, "it has drawn")
        terminal.press("\x03")
        assert await terminal.ended() == 130
    finally:
        terminal.close()


def test_without_a_terminal_top_prints_once(migrated: Stack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowtape", "top"], stdin=subprocess.DEVNULL, capture_output=True,
        env=environment(migrated.settings), timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert b"hottest" in done.stdout
    assert b"\x1b[?1049h" not in done.stdout
