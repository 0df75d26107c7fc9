"""Signals of one's own: written, tested, run, stopped and started again, and nobody else the worse for it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import redis.asyncio as aioredis

from flowtape import bus
from flowtape.cli import cli
from schemas.events import Trade, encode
from schemas.settings import ConfigError, load
from signals import _run, own
from signals._own_names import names
from signals._own_new import write
from tests.conftest import Stack
from tests.harness import commands, eventually
from tests.series import MINUTE, T0, liquidation

WHO = ("binance", "BTC-USDT")
COUNTS = """
class Signal:
    def __init__(self, exchange, symbol):
        self.count, self.quantity = 0, 0.0
    def trades(self, trades):
        self.count += len(trades.price)
        self.quantity += float(trades.quantity.sum())
    def value(self):
        return {"count": self.count, "quantity": self.quantity}
"""


def _trade(n: int, quantity: float = 1.0) -> Trade:
    return Trade(*WHO, T0 + n, T0 + n, str(n), 100.0, quantity, 100.0, bool(n % 2))


def test_a_new_signal_passes_the_test_it_comes_with(tmp_path: Path) -> None:
    files = write("pressure", str(tmp_path / "mine"))
    assert [file.name for file in files] == ["pressure.py", "test_pressure.py"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(files[1])], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
    assert "2 passed" in run.stdout or ".." in run.stdout
    with pytest.raises(ConfigError, match="there already"):
        write("pressure", str(tmp_path / "mine"))
    for name in ("new", "../x", "Upper", ""):
        with pytest.raises(ConfigError, match="not a name"):
            write(name, str(tmp_path / "mine"))
    # What was written can fail: other numbers are noticed.
    files[0].write_text(files[0].read_text().replace("60_000_000", "90_000_000"))
    assert own.load("pressure", files[0]).make is not None
    again = subprocess.run([sys.executable, "-m", "pytest", "-q", str(files[1])], capture_output=True, text=True)
    assert again.returncode == 1


def test_the_command_writes_files_and_says_what_to_configure(tmp_path: Path, monkeypatch) -> None:
    from click.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(cli, ["signal", "new", "mine"])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "my_signals" / "mine.py").exists()
    assert 'folder = "my_signals"' in found.output


def test_a_folder_lists_its_signals_without_running_them(tmp_path: Path) -> None:
    for name in ("good", "test_good", "_shared", "Bad-name"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError")
    settings = load(f'signals.folder = "{tmp_path}"', {}, source="test")
    assert list(names(settings)) == ["good"]
    with pytest.raises(own.OwnSignalFailed, match="good: loading: RuntimeError"):
        own.load("good", tmp_path / "good.py")


def test_a_signal_gets_what_it_has_methods_for_each_once() -> None:
    class Signal:
        def __init__(self, exchange, symbol):
            self.heard = []

        def trades(self, trades):
            self.heard += trades.price.tolist()

        def liquidation(self, event):
            self.heard.append(event.side)

        def value(self):
            return {"heard": self.heard}

    one, other = liquidation(T0, who=WHO), liquidation(T0 + 1, side="short", who=WHO)
    found = own.trial(Signal, [_trade(1), _trade(1), _trade(2)], [_trade(2), one, one], [other])
    assert found == {WHO: {"heard": [100.0, 100.0, "long", "short"]}}
    declared = own.Declared("x", Signal, ("1m",), MINUTE)
    words = [source.word for source in own.Own(declared, load("", {}, source="test")).sources()]
    assert words == ["trade", "liquidation"]


async def test_one_that_raises_is_stopped_reported_and_goes_on_when_the_file_is_mended(
    migrated: Stack, nats, tmp_path: Path
) -> None:
    file = tmp_path / "counts.py"
    file.write_text(COUNTS.replace("self.count += len", "raise ValueError('bad day')\n        self.count += len"))
    settings = msgspec.structs.replace(migrated.settings)
    settings.signals = msgspec.structs.replace(settings.signals, folder=str(tmp_path))
    cache = aioredis.Redis.from_url(migrated.redis_url)
    await cache.flushdb()
    for n in range(50):
        await nats.publish("md.trade.binance.BTC-USDT", encode(_trade(n % 40)))
    await nats.flush()
    connection = await bus.connect(settings, "signal")
    stop, health = asyncio.Event(), {}
    work = asyncio.create_task(_run.signal(["counts"], settings, connection, cache, stop, health))
    try:

        async def stopped() -> bool:
            return health.get("state") == "stopped"

        await eventually(stopped, "the failure in the heartbeat")
        assert "trades of binance:BTC-USDT: ValueError: bad day" in health["error"]
        file.write_text(COUNTS)

        async def counted() -> bool:
            text = await cache.get("signal:counts:binance:BTC-USDT")
            return text is not None and json.loads(text)["count"] == 40

        await eventually(counted, "the key of the mended signal")
        assert health["failures"] >= 1
        assert health["state"] == "running"
    finally:
        stop.set()
        await work
        await connection.close()
        await cache.flushdb()
        await cache.aclose()


async def test_an_endless_loop_ends_its_own_process_alone(migrated: Stack, nats, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "stuck.py").write_text("class Signal:\n    def __init__(self, *_):\n        while True: pass\n"
                                       "    def trades(self, trades): pass\n")  # fmt: skip
    await nats.publish("md.trade.binance.BTC-USDT", encode(_trade(1)))
    await nats.flush()
    (tmp_path / "sitecustomize.py").write_text("import signals.own\nsignals.own.HANG_S = 1\n")
    folder = {"FLOWTAPE_SIGNALS_FOLDER": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    with commands(migrated, ("signal", "stuck"), **folder) as (command,):

        async def ended() -> bool:
            return command.process.poll() is not None

        await eventually(ended, "the end of the process")
        assert command.process.returncode == 1
        assert "stuck.py" in command.output()
