"""Metrics: every process is in them, and what dashboards and alerts ask for exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from consumers._batch import Batch
from consumers._latency import BOUNDS_S, SAMPLES_MAX, Latencies
from flowtape.servers import free_port
from producers._connection import cause_of
from schemas.events import Kline, Trade
from tests.conftest import Stack
from tests.harness import commands, eventually
from tests.webbing import serving
from web._metrics import families, names

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
FILES = [DEPLOY / "grafana" / "flowtape.json", DEPLOY / "prometheus" / "flowtape.rules.yml"]
NAME = re.compile(r"\bflowtape_[a-z0-9_]+")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_dashboard_and_alerts_ask_only_for_names_that_exist(file: Path) -> None:
    asked = set(NAME.findall(file.read_text()))
    assert len(asked) > 10
    assert asked <= names()


def test_the_rules_are_rules_and_the_dashboard_has_queries() -> None:
    (group,) = yaml.safe_load(FILES[1].read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert NAME.search(rule["expr"])
    dashboard = json.loads(FILES[0].read_text())
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["rule_files"] == [FILES[1].name]


def test_without_a_worker_there_are_no_samples_of_workers() -> None:
    status = {
        "workers": {}, "servers": {}, "streams": {}, "consumers": {}, "tables": {}, "suspended": [], "dead_letters": 0,
        "footprints": {"keys": 0}, "problems": ["redis: away"],
    }  # fmt: skip
    made = families(status, [("binance", "trades", 200, 1), ("okx", "trades", 0, 0)], 1)
    assert [sample.value for sample in made["flowtape_problems"].samples] == [1.0]
    assert made["flowtape_up"].samples == []
    (ratio,) = made["flowtape_completeness_ratio"].samples
    assert (ratio.labels, ratio.value) == ({"exchange": "binance", "channel": "trades"}, 0.995)


class _Message:
    """As much of a message as is looked at: when the log stored it, in ns."""

    def __init__(self, stored_us: int) -> None:
        self.reply = f"$JS.ACK.MD.questdb.1.1.1.{stored_us * 1000}.0"


def test_latencies_are_sampled_by_stage_and_a_large_batch_costs_no_more() -> None:
    base = 1_800_000_000_000_000
    events = [Trade("one", "A-B", base, base + 30_000, str(n), 1.0, 1.0, 1.0, False) for n in range(1000)]
    messages = [_Message(base + 34_000)]
    latencies = Latencies(Trade, lambda: base + 234_000)
    latencies.sample(Batch(messages, events, [0] * 1000))  # type: ignore[arg-type]
    for stage, seconds in (("receive", 0.03), ("log", 0.004), ("row", 0.2)):
        its = latencies.told[stage]["one"]
        assert its["count"] == sum(its["buckets"]) == SAMPLES_MAX
        assert its["sum"] == pytest.approx(SAMPLES_MAX * seconds)
        (bucket,) = [n for n, count in enumerate(its["buckets"]) if count]
        assert BOUNDS_S[bucket - 1] < seconds <= BOUNDS_S[bucket]
    old = Trade("one", "A-B", base - 3_600_000_000, base, "x", 1.0, 1.0, 1.0, False)
    latencies.sample(Batch(messages, [old], [0]))  # type: ignore[arg-type]
    assert latencies.told["receive"]["one"]["count"] == SAMPLES_MAX, "history says nothing about the way"
    slots = Latencies(Kline, lambda: base)
    slots.sample(Batch(messages, [Kline("one", "A-B", base, base, "1m", 1, 1, 1, 1, 1, 1, 1, "ws")], [0]))  # type: ignore[arg-type]
    assert "receive" not in slots.told, "a slot is not a moment"


@pytest.mark.parametrize(
    ("reason", "cause"),
    [("half open: not even a pong", "half_open"), ("nothing came after subscribing", "mute"),
     ("the whole connection is silent", "silent"), ("btcusdt@trade stays silent", "silent"), ("1006 bye", "closed")],
)  # fmt: skip
def test_a_reconnect_has_one_of_a_few_causes(reason: str, cause: str) -> None:
    assert cause_of(reason) == cause


async def test_every_process_is_in_the_answer_and_every_declared_name(migrated: Stack, tmp_path) -> None:
    port = free_port()
    prefix, where = "FLOWTAPE_EXCHANGES_SIM_BINANCE_", f"127.0.0.1:{port}/binance"
    extra = {f"{prefix}WS_URL": f"ws://{where}", f"{prefix}REST_URL": f"http://{where}", f"{prefix}SYMBOLS": "BTC-USDT"}
    workers = {"produce-sim_binance", "consume", "signal"}

    async def scraped():
        async with site.client.get(site.url + "/metrics") as answer:
            assert answer.content_type == "text/plain"
            found = {family.name: family for family in text_string_to_metric_families(await answer.text())}
        up = {sample.labels["worker"] for sample in found["flowtape_up"].samples if sample.value}
        stages = {sample.labels["stage"] for sample in found["flowtape_latency_seconds"].samples}
        counted = {s.labels["channel"] for s in found["flowtape_events"].samples if s.value}
        return workers <= up and stages == {"receive", "log", "row"} and "trades" in counted and found

    simulate = ("simulate", "--port", str(port), "--symbols", "1")
    async with serving(migrated, tmp_path) as site:
        with commands(migrated, simulate, ("produce", "sim_binance"), ("consume",), ("signal",), **extra):
            found = await eventually(scraped, "all processes are told of")
    assert {re.sub("_(total|bucket|sum|count)$", "", name) for name in names()} <= set(found)
    for name in ("events", "frames"):
        counted = {s.labels["channel"]: s.value for s in found[f"flowtape_{name}"].samples if s.name.endswith("_total")}
        assert counted["trades"] > 0
    buckets = [s for s in found["flowtape_flush_seconds"].samples if s.labels.get("table") == "trades"]
    assert buckets[-1].value > 0
