"""``flowtape up``: servers, provision, workers under one supervisor that restarts what dies."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from flowtape import log, servers
from flowtape.children import Child, Children, end_leftovers
from flowtape.embedded import HOST
from flowtape.live import StatusLine
from flowtape.migrate import provision
from schemas.settings import ConfigError, KlinesSettings, Settings, TradesSettings
from signals._own_names import names
from web._port import recorded

DEMO_EXCHANGES = (
    "sim_binance", "sim_binance_futures", "sim_coinbase", "sim_kraken", "sim_okx_futures", "sim_bybit_futures",
)  # fmt: skip
DEMO_INDICATORS = '["RSI(14)", "EMA(20)", "MACD(12,26,9)"]'
DEMO_SYMBOLS, DEMO_RATE = 4, 50
"""Of each exchange, and its trades a second: what two cores carry beside everything else."""
DEMO_HISTORY = {"FLOWTAPE_KLINES_BACKFILL": "7d", "FLOWTAPE_TRADES_BACKFILL": "20m"}
"""Unless the configuration says otherwise: history that two cores make up and store beside everything else."""
SERVER_CHECK_S = 1.0
ANSWER_CHECK_S, SILENT_CHECKS_MAX = 5.0, 6
SIMULATOR_READY_S_MAX = 20.0
PAGE_S_MAX = 15.0


def supervise(settings: Settings, *, demo: bool, seconds: float | None, config: Path | None) -> int:
    """Run everything until a signal comes or ``seconds`` are over. 0, or 130 after Ctrl-C."""
    log.configure("up", settings.log.format)
    data_dir = Path(settings.data_dir)
    with _only_one(data_dir):
        end_leftovers(data_dir)
        with asyncio.Runner() as runner:
            return runner.run(_Up(settings, demo, config).run(seconds))


@contextlib.contextmanager
def _only_one(data_dir: Path) -> Iterator[TextIO]:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "up.lock").open("a+")
    except OSError as error:
        raise ConfigError("configuration", "data_dir", f"cannot write to {data_dir}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError("configuration", "data_dir", f"flowtape is already up in {data_dir}") from error
        yield lock


class _Up:
    def __init__(self, settings: Settings, demo: bool, config: Path | None) -> None:
        self._settings, self._demo = settings, demo
        self._data_dir = Path(settings.data_dir)
        self._arguments = ["--config", str(config)] if config else []
        self._children = Children(self._data_dir)
        self._stop = asyncio.Event()
        self._starting: list[str] = []
        """Servers that are being started again."""
        self._code = 0

    def _on_signal(self, number: int) -> None:
        self._code = 130 if number == signal.SIGINT else 0
        self._stop.set()

    async def run(self, seconds: float | None) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup: it is to outlive its terminal
                loop.add_signal_handler(number, self._on_signal, number)
        try:
            await asyncio.to_thread(servers.start, self._settings, _say)
            self._settings = servers.resolve(self._settings)
            await provision(self._settings, _say)
            environment = await self._simulator() if self._demo else {}
            for name, *command in self._workers():
                self._children.start(Child(name, [*self._arguments, *command], environment))
            await self._addresses()
            watches = [asyncio.create_task(self._watch_servers()), asyncio.create_task(self._watch_answers())]
            line = asyncio.create_task(StatusLine(self._settings, self._children, log.Enduring(sys.stdout)).run())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)
            _say("stopping")
            for task in (*watches, line):
                task.cancel()
        finally:
            # Producers first: what they have published can still be stored before the rest stops.
            await self._children.stop_all(first=("produce-", "klines-"))
            await asyncio.to_thread(servers.stop, self._data_dir, _say)
        return self._code

    def _workers(self) -> list[tuple[str, ...]]:
        exchanges = DEMO_EXCHANGES if self._demo else tuple(self._settings.exchanges)
        workers: list[tuple[str, ...]] = [("consume", "consume"), ("signal", "signal"), ("web", "web")]
        workers += [(f"signal-{name}", "signal", name) for name in names(self._settings)]
        workers += [("signal-alerts", "signal", "alerts")] if self._settings.alerts else []
        for exchange in exchanges:
            workers += [(f"produce-{exchange}", "produce", exchange), (f"klines-{exchange}", "klines", exchange)]
        return workers

    async def _simulator(self) -> dict[str, str]:
        """Start the simulator and say, as environment, where the simulated exchanges are."""
        port = servers.free_port()
        demo = ("simulate", "--symbols", str(DEMO_SYMBOLS), "--rate", str(DEMO_RATE))
        self._children.start(Child("simulate", [*demo, "--port", str(port)], {}))
        deadline = time.monotonic() + SIMULATOR_READY_S_MAX
        while not await _listens(port):
            if time.monotonic() > deadline:
                raise servers.ServerError("simulate", "not ready; see log/simulate.log under data_dir")
            await asyncio.sleep(0.1)
        own = self._settings.klines.backfill, self._settings.trades.backfill
        unchanged = own == (KlinesSettings().backfill, TradesSettings().backfill)
        environment = dict(DEMO_HISTORY) if unchanged else {}
        if not self._settings.signals.indicators:
            environment["FLOWTAPE_SIGNALS_INDICATORS"] = DEMO_INDICATORS
        for exchange in DEMO_EXCHANGES:
            prefix = f"FLOWTAPE_EXCHANGES_{exchange.upper()}"
            path = f"{HOST}:{port}/{exchange.removeprefix('sim_')}"
            environment |= {f"{prefix}_WS_URL": f"ws://{path}", f"{prefix}_REST_URL": f"http://{path}"}
            environment[f"{prefix}_SYMBOLS"] = '["*"]'
        return environment

    async def _addresses(self) -> None:
        _say("")
        for name, url in (
            ("the page", await self._page()),
            ("NATS", self._settings.nats.url), ("QuestDB", self._settings.questdb.http),
            ("QuestDB SQL", self._settings.questdb.pg), ("Redis", self._settings.redis.url),
        ):  # fmt: skip
            _say(f"  {name:12} {url}")
        _say(f"  {'logs':12} {self._data_dir / 'log'}\n")
        _say("  flowtape status | flowtape sub 'md.trade.>' | Ctrl-C stops everything\n")

    async def _page(self) -> str:
        """Where the page is, once its process says so; for a moment it may not know yet."""
        deadline = time.monotonic() + PAGE_S_MAX
        while time.monotonic() < deadline and not self._stop.is_set():
            child, served = self._children.all["web"], recorded(self._data_dir)
            if served and child.process and served.pid == child.process.pid:
                return served.url
            await asyncio.sleep(0.1)
        return "not there yet: log/web.log under data_dir says why"

    async def _watch_servers(self) -> None:
        """Start again what died. A start that fails (disk full) is tried again, for ever, and said each time."""
        wait_s = SERVER_CHECK_S
        while True:
            await asyncio.sleep(wait_s)
            state = servers.running(self._data_dir)
            dead = [name for name in servers.wanted(self._settings) if name not in state or not state[name].alive()]
            if not dead:
                wait_s = SERVER_CHECK_S
                continue
            _say(f"{', '.join(dead)} stopped; starting again")
            self._starting = dead
            try:
                await asyncio.to_thread(servers.start, self._settings, _say)
            except servers.ServerError as error:
                _say(str(error))
                wait_s = min(wait_s * 2, 30.0)
            self._starting = []

    async def _watch_answers(self) -> None:
        """End what runs and does not answer any more, so that it is started again: a NATS whose disk was full stays
        frozen until then, and so may any server that the machine stopped."""
        silent: dict[str, int] = {}
        while True:
            await asyncio.sleep(ANSWER_CHECK_S)
            answers = await asyncio.to_thread(servers.answering, self._data_dir)
            silent = unanswered(silent, answers, self._starting)
            for name, checks in silent.items():
                if checks >= SILENT_CHECKS_MAX:
                    _say(f"{name} does not answer; starting it again")
                    await asyncio.to_thread(servers.end, self._data_dir, name)


def unanswered(before: Mapping[str, int], answers: Mapping[str, bool], starting: Sequence[str]) -> dict[str, int]:
    """How many checks in a row each server has missed. One that is being started has its own bound of time for that."""
    return {
        name: before.get(name, 0) + 1 for name, answered in answers.items() if not answered and name not in starting
    }


def _say(line: str) -> None:
    out = log.Enduring(sys.stdout)
    out.write(f"{line}\n")
    out.flush()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
