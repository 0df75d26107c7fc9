"""The command line: exit codes, one clear line per mistake, `up` as a user would run it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest
from click import Group
from click.testing import CliRunner

from flowtape import servers, status
from flowtape.children import end_leftovers, started
from flowtape.cli import cli
from flowtape.supervisor import unanswered
from schemas import events
from schemas.settings import load
from tests.conftest import Stack
from tests.exchange import tape
from tests.harness import environment

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("FLOWTAPE_")}


def flowtape(*arguments: str, cwd: Path, stdin: bytes = b"", **extra: str) -> subprocess.CompletedProcess[bytes]:
    """One command, run to its end."""
    return subprocess.run(
        [sys.executable, "-m", "flowtape", *arguments],
        cwd=cwd, input=stdin, capture_output=True, env={**ENVIRONMENT, **extra}, timeout=120, check=False,
    )  # fmt: skip


def test_every_command_explains_itself(tmp_path: Path) -> None:
    listed = flowtape("--help", cwd=tmp_path).stdout.decode()
    names = "up servers migrate produce klines consume signal web simulate decode sub status top doctor"
    for name in names.split():
        assert f"\n  {name} " in listed
        shown = CliRunner().invoke(cli, [name, "--help"])
        assert (shown.exit_code, "Usage" in shown.output) == (0, True)


@pytest.mark.parametrize(("shell", "word"), [("bash", "1"), ("zsh", "1"), ("fish", "stat")])
def test_a_shell_is_given_what_completes_commands(shell: str, word: str) -> None:
    def given(step: str, **extra: str) -> str:
        asked = {**ENVIRONMENT, "_FLOWTAPE_COMPLETE": f"{shell}_{step}", **extra}
        command = Path(sys.executable).with_name("flowtape")
        return subprocess.run([command], env=asked, capture_output=True, text=True, timeout=120, check=True).stdout

    assert f"_FLOWTAPE_COMPLETE={shell}_complete" in given("source")
    assert "status" in given("complete", COMP_WORDS="flowtape stat", COMP_CWORD=word)


def test_every_command_has_an_example_of_its_own() -> None:
    def each(group: Group, words: str):
        for name, its in group.commands.items():
            yield f"{words} {name}", its
            if isinstance(its, Group):
                yield from each(its, f"{words} {name}")

    for words, its in each(cli, "flowtape"):
        examples = [line.strip() for line in (its.help or "").splitlines() if line.strip().startswith("flowtape ")]
        assert any(line.startswith(words) for line in examples), f"{words} --help has no example"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("frobnicate",), "No such command"),
        (("produce", "mtgox"), "unknown exchange 'mtgox'"),
        (("--config", "nowhere.toml", "status"), "nowhere.toml: cannot be read"),
        (("status", "--config", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("--config", "bad.toml", "status"), "bad.toml: web.prot: unknown key"),
        (("status", "--config", "bad.toml"), "bad.toml: web.prot: unknown key"),
        (("up", "--for", "soon"), "'soon' is not a duration"),
        (("decode", "mtgox"), "unknown exchange 'mtgox'"),
        (("produce", "kraken"), "exchanges.kraken.symbols: missing"),
        (("klines", "sim_okx"), "exchanges.sim_okx.symbols: missing"),
        (("simulate", "--port", "99999"), "99999 is not in the range"),
        (("simulate", "--host", "nosuch.invalid"), "cannot listen on nosuch.invalid"),
        (("consume",), "not started here; run `flowtape servers start` or `flowtape up`"),
    ],
)
def test_bad_usage_and_bad_config_are_one_clear_line_and_exit_code_2(tmp_path: Path, arguments, says: str) -> None:
    (tmp_path / "bad.toml").write_text("[web]\nprot = 1\n")
    ended = flowtape(*arguments, cwd=tmp_path)
    assert ended.returncode == 2
    assert says in ended.stderr.decode()
    assert "Traceback" not in ended.stderr.decode()


def test_an_exchange_without_a_producer_is_one_clear_line(tmp_path: Path) -> None:
    program = tmp_path / "flowtape_of_another_day.py"  # the list of ids is longer than the folder of producers
    program.write_text("import flowtape.cli as it\nit.EXCHANGES += ('mtgox',)\nit.main()\n")
    for command, source in ((("decode", "mtgox"), "command line"), (("doctor", "mtgox"), "configuration")):
        ended = subprocess.run(
            [sys.executable, program, *command], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
            env=ENVIRONMENT, timeout=120, check=False,
        )  # fmt: skip
        assert ended.returncode == 2
        lines = ended.stderr.decode().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"flowtape: {source}: ")
        assert lines[0].endswith("there is no producer for it")


def test_an_unknown_variable_is_named(tmp_path: Path) -> None:
    ended = flowtape("servers", "status", cwd=tmp_path, FLOWTAPE_NTAS_URL="x")
    assert ended.returncode == 2
    assert b"FLOWTAPE_NTAS_URL" in ended.stderr


def test_decode_prints_one_event_per_line_and_names_bad_lines(tmp_path: Path) -> None:
    frames = tape(4)
    ended = flowtape("decode", "binance", cwd=tmp_path, stdin=b"\n".join([*frames, b"{broken", frames[0]]) + b"\n")
    made = [events.decode_any(line) for line in ended.stdout.splitlines()]
    assert [event.symbol for event in made] == ["BTC-USDT", "ETH-USDT", "BTC-USDT", "BTC-USDT", "BTC-USDT"]
    assert all(event.received == event.timestamp > 0 for event in made)
    assert ended.returncode == 1
    assert b"5" in ended.stderr


def test_decode_of_good_lines_ends_with_0(tmp_path: Path) -> None:
    assert flowtape("decode", "binance", cwd=tmp_path, stdin=b"\n".join(tape(10))).returncode == 0


def test_status_of_a_running_stack_is_json_with_what_the_documentation_names(migrated: Stack) -> None:
    ended = flowtape("status", "--json", cwd=migrated.data_dir, **environment(migrated.settings))
    found = json.loads(ended.stdout)
    assert {"servers", "streams", "consumers", "tables", "workers", "footprints", "lag", "dead_letters", "ok"} <= set(
        found
    )
    assert found["tables"].keys() >= {"trades", "candles", "footprints"}
    assert found["problems"] == []
    assert ended.returncode == 0


def test_status_without_servers_says_what_is_down_and_ends_with_1(tmp_path: Path) -> None:
    ended = flowtape("status", "--json", cwd=tmp_path)
    assert ended.returncode == 1
    assert {"nats is not running", "questdb is not running", "redis is not running"} <= set(
        json.loads(ended.stdout)["problems"]
    )


QUICK = "from flowtape import cli, supervisor; supervisor.ANSWER_CHECK_S = 2.0; "
"""As the command, but what hangs is found sooner."""
SMALL = "supervisor.DEMO_EXCHANGES = supervisor.DEMO_EXCHANGES[:2]; "
"""For what does not depend on how many there are."""


def test_a_server_counts_as_hung_by_checks_missed_in_a_row_but_not_while_it_is_being_started() -> None:
    missed = unanswered({"questdb": 4, "redis": 2}, {"nats": True, "questdb": False, "redis": True}, [])
    assert missed == {"questdb": 5}
    assert unanswered(missed, {"questdb": False, "redis": False}, ["questdb"]) == {"redis": 1}


class Up:
    """``flowtape up --demo`` in a folder of its own."""

    def __init__(self, folder: Path, *, program: str = QUICK, out: IO[bytes] | None = None) -> None:
        self.folder, self._log = folder, folder / "up.log"
        self._program = f"{program}cli.main()"
        self._log.touch()
        self.start(out=out)

    def start(self, *arguments: str, out: IO[bytes] | None = None) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self._program, "up", "--demo", *arguments],
                cwd=self.folder, env={**ENVIRONMENT, "FLOWTAPE_DISK": "4GB"}, stdout=out or log, stderr=log,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # the tests may run under nohup
            )  # fmt: skip

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def status(self) -> dict[str, object]:
        """What ``flowtape status --json`` says there."""
        settings = load("", {"FLOWTAPE_DATA_DIR": f'"{self.folder / ".flowtape"}"'}, source="test")
        return asyncio.run(status.collect(servers.resolve(settings)))

    def until(self, holds, what: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, f"up ended: {self.output()[-3000:]}"
            assert time.monotonic() < deadline, f"{what}: {self.output()[-3000:]}"
            time.sleep(0.3)

    def workers(self) -> dict[str, int]:
        return {name: its[0].pid for name, its in started(self.folder / ".flowtape").items()}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in psutil.Process().children():
        if "up" in process.cmdline():  # of a test that failed: it would start again what is ended below
            process.kill()
            process.wait()
    end_leftovers(tmp_path / ".flowtape")
    servers.stop(tmp_path / ".flowtape")


def test_up_shows_rows_and_footprints_growing_and_mends_what_is_killed(folder: Path) -> None:
    up = Up(folder)
    up.until(lambda: up.status().get("footprints", {}).get("keys", 0) > 0, "footprints appear", 180)
    up.until(lambda: up.status()["tables"].get("trades", 0) > 500, "rows grow")
    started = servers.running(folder / ".flowtape")
    nats, redis, killed = started["nats"].pid, started["redis"].pid, up.workers()["signal"]
    os.kill(redis, signal.SIGSTOP)  # it accepts connections and answers nothing
    os.kill(killed, signal.SIGKILL)
    up.until(lambda: up.workers().get("signal", killed) != killed, "the signal engine is started again")
    os.kill(nats, signal.SIGKILL)
    up.until(lambda: servers.running(folder / ".flowtape")["nats"].pid != nats, "NATS is started again")
    up.until(lambda: servers.running(folder / ".flowtape")["redis"].pid != redis, "a hung Redis is replaced", 120)
    rows = up.status()["tables"]["trades"]
    up.until(lambda: up.status()["tables"].get("trades", 0) > rows + 200, "rows grow again")
    second = flowtape("up", "--demo", cwd=folder)
    assert second.returncode == 2
    assert b"already up" in second.stderr
    mine = [*up.workers().values(), *(process.pid for process in servers.running(folder / ".flowtape").values())]
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(timeout=60) == 130
    assert not [pid for pid in mine if psutil.pid_exists(pid)]


def test_up_for_a_while_ends_by_itself_and_a_killed_up_leaves_nothing_to_the_next(folder: Path) -> None:
    up = Up(folder, program=QUICK + SMALL)
    up.until(lambda: len(up.workers()) >= 7, "workers start")
    orphans = set(up.workers().values())
    up.process.kill()
    up.process.wait()
    assert any(psutil.pid_exists(pid) for pid in orphans), "not run: the workers died with their parent"
    up.start("--for", "3s")
    assert up.process.wait(timeout=90) == 0
    assert not [pid for pid in orphans if psutil.pid_exists(pid)]
    assert not started(folder / ".flowtape")


def test_up_goes_on_when_nobody_reads_it_and_leaves_nothing_when_its_terminal_is_closed(folder: Path) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as out:
        up = Up(folder, program=QUICK + SMALL, out=out)
    os.close(reader)
    up.until(lambda: len(up.workers()) >= 7, "workers start")
    mine = [*up.workers().values(), *(process.pid for process in servers.running(folder / ".flowtape").values())]
    up.process.send_signal(signal.SIGHUP)
    assert up.process.wait(timeout=60) == 0
    assert not [pid for pid in mine if psutil.pid_exists(pid)]
