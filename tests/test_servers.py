"""The embedded servers are real, survive what kills them, and are never a stranger's."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
import redis

from flowtape import embedded, servers
from schemas.settings import ConfigError, load
from tests.conftest import Stack, free_port, stack_settings


def test_each_server_is_the_version_the_documentation_names(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", int(stack.nats_url.rsplit(":", 1)[1])), timeout=5) as connection:
        assert b'"version":"2.15.' in connection.recv(4096)
    with urllib.request.urlopen(f"{stack.questdb_http}/exec?query=select%20build()", timeout=5) as answer:
        assert b"9.3.4" in answer.read()
    with redis.Redis.from_url(stack.redis_url) as client:
        assert client.info("server")["redis_version"].startswith("8.2.")


def test_every_listening_port_is_on_loopback(stack: Stack) -> None:
    import psutil

    for name in embedded.SERVERS:
        for connection in psutil.Process(stack.pid(name)).net_connections():
            if connection.status == psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1"), f"{name} listens on {connection.laddr}"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_every_server_starts_again_after_a_signal_on_the_same_port(own_stack: Stack, how: signal.Signals) -> None:
    before = servers.running(own_stack.data_dir)
    for process in before.values():
        os.kill(process.pid, how)
        os.waitpid(process.pid, 0)
    assert not any(process.alive() for process in before.values()), "not run: a server survived the signal"
    after = servers.start(own_stack.settings)
    assert {name: process.ports for name, process in after.items()} == {n: p.ports for n, p in before.items()}
    assert all(process.alive() for process in after.values())


def test_a_second_start_keeps_what_runs(stack: Stack) -> None:
    before = servers.running(stack.data_dir)
    assert servers.start(stack.settings) == before


def _only(name: str, text: str, data_dir: Path):
    others = "\n".join(f"[{other}]\nembedded = false" for other in ("nats", "questdb", "redis") if other != name)
    return load(f"{others}\n{text}", {"FLOWTAPE_DATA_DIR": f'"{data_dir}"'})


def test_a_default_port_that_is_taken_moves_and_is_found_again(tmp_path: Path, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = _only("redis", "", tmp_path)
        settings.redis.url = type(settings.redis.url)(f"redis://127.0.0.1:{port}/0")
        try:
            moved = servers.start(settings)["redis"].ports["client"]
            assert moved != port
            assert servers.resolve(settings).redis.url == f"redis://127.0.0.1:{moved}/0"
        finally:
            servers.stop(tmp_path)


def test_an_explicit_port_in_use_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = _only("redis", f'[redis]\nurl = "redis://127.0.0.1:{port}/0"', tmp_path)
        with pytest.raises(servers.ServerError, match=f"redis: port {port} is in use"):
            servers.start(settings)


def test_an_embedded_server_off_loopback_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nats\.url.*loopback only"):
        servers.start(_only("nats", '[nats]\nurl = "nats://0.0.0.0:4222"', tmp_path))


def test_a_missing_binary_is_one_clear_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(embedded.sys, "prefix", str(tmp_path / "nowhere"))
    with pytest.raises(servers.ServerError, match=r"nats: its binary is missing .*make setup"):
        servers.start(_only("nats", f'[nats]\nurl = "nats://127.0.0.1:{free_port()}"', tmp_path))


def test_a_broken_configuration_is_told_in_the_servers_own_words(tmp_path: Path, monkeypatch) -> None:
    broken = tmp_path / "broken.conf"
    broken.write_text("jetstream {")
    monkeypatch.setattr(embedded, "nats_conf", lambda: broken)
    with pytest.raises(servers.ServerError, match=r"nats: stopped while starting: .*Unexpected EOF"):
        servers.start(_only("nats", f'[nats]\nurl = "nats://127.0.0.1:{free_port()}"', tmp_path))


def test_a_server_whose_port_another_stack_answers_at_does_not_count_as_ready(
    stack: Stack, tmp_path: Path, monkeypatch
) -> None:
    """Two that start at the same moment can choose the same monitor port."""
    taken = servers.running(stack.data_dir)["nats"].ports["monitor"]
    monkeypatch.setattr(servers, "_ports", lambda *_: {"client": free_port(), "monitor": taken})
    with pytest.raises(servers.ServerError, match="nats: stopped while starting"):
        servers.start(_only("nats", f'[nats]\nurl = "nats://127.0.0.1:{free_port()}"', tmp_path))


def test_a_full_disk_is_said_before_anything_is_started(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(servers.shutil, "disk_usage", lambda _: servers.shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(servers.ServerError, match="redis: disk full: 0 bytes free"):
        servers.start(_only("redis", "", tmp_path))


def test_an_unwritable_data_dir_is_one_clear_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(servers.ServerError, match="cannot write to data_dir"):
        servers.start(_only("redis", "", blocked / "data"))


def test_a_process_that_took_over_a_recorded_pid_is_never_ended(tmp_path: Path) -> None:
    stranger = servers.Running(os.getpid(), 1.0, {"client": 1})
    (tmp_path / "servers.json").write_bytes(servers.msgspec.json.encode({"redis": stranger}))
    servers.stop(tmp_path)
    assert os.getpid()  # still here


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "servers.json").write_bytes(b"\x00 not json")
    assert servers.running(tmp_path) == {}


def test_a_server_that_was_not_started_here_is_named(tmp_path: Path) -> None:
    assert servers.missing(stack_settings(tmp_path)) == ["nats", "questdb", "redis"]
