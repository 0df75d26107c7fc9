"""The metrics, each declared once with what it means, filled from heartbeats and the state of the servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from consumers._latency import BOUNDS_S
from schemas.names import WORD

Family: TypeAlias = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Families: TypeAlias = dict[str, Family]

_GAUGES = {
    "flowtape_up": ("Whether a worker was heard within 10 seconds", ("worker",)),
    "flowtape_heartbeat_age_seconds": ("Since a worker was last heard", ("worker",)),
    "flowtape_worker_start_time_seconds": ("When a worker started, Unix time", ("worker",)),
    "flowtape_worker_memory_bytes": ("Resident memory of a worker", ("worker",)),
    "flowtape_server_up": ("Whether an embedded server runs", ("server",)),
    "flowtape_problems": ("Lines `flowtape status` shows as problems", ()),
    "flowtape_connections": ("Sockets to an exchange that are open", ("worker", "exchange")),
    "flowtape_connections_wanted": ("Sockets to an exchange there should be", ("worker", "exchange")),
    "flowtape_outbox_waiting_events": ("Events not yet sent to the log", ("worker", "exchange")),
    "flowtape_outbox_in_flight_messages": ("Messages the log has not acknowledged yet", ("worker", "exchange")),
    "flowtape_spool_bytes": ("Events on disk because the log is away", ("worker", "exchange")),
    "flowtape_rest_budget_used_ratio": ("Share of our REST budget used in the window", ("worker", "exchange")),
    "flowtape_clock_offset_seconds": (
        "How far this machine's clock is ahead of the exchange's, to a second", ("worker", "exchange"),
    ),
    "flowtape_exchange_time_age_seconds": ("Since the latest exchange time seen", ("worker", "exchange")),
    "flowtape_gaps_open": ("Holes in trades that are not settled", ("worker", "exchange")),
    "flowtape_completeness_ratio": ("Ids present of those expected, last 24 h audited", ("exchange", "channel")),
    "flowtape_consumer_lag_messages": ("Messages of the log a table has yet to store", ("consumer",)),
    "flowtape_signal_lag_messages": ("Messages of the log the signal engine has yet to apply", ("worker",)),
    "flowtape_table_suspended": ("1 while QuestDB shows none of a table's new rows", ("table",)),
    "flowtape_tables_suspended": ("How many tables are suspended", ()),
    "flowtape_table_rows": ("Rows of a table", ("table",)),
    "flowtape_stream_messages": ("Messages in a stream", ("stream",)),
    "flowtape_stream_bytes": ("Size of a stream", ("stream",)),
    "flowtape_dead_letters": ("Letters in the stream of dead letters", ()),
    "flowtape_footprint_keys": ("Footprint series in Redis", ()),
    "flowtape_web_sockets": ("WebSockets that are open", ("worker",)),
}  # fmt: skip
_COUNTERS = {
    "flowtape_worker_cpu_seconds": ("Processor time of a worker", ("worker",)),
    "flowtape_frames": ("Frames of an exchange", ("worker", "exchange", "channel")),
    "flowtape_events": ("Events sent towards the log", ("worker", "exchange", "channel")),
    "flowtape_bad_frames": ("Frames that could not be used", ("worker", "exchange")),
    "flowtape_reconnects": ("Connections that ended, by cause", ("worker", "exchange", "cause")),
    "flowtape_duplicates_dropped": ("Copies that were dropped", ("worker", "where")),
    "flowtape_dead": ("Dead letters written", ("worker", "where")),
    "flowtape_dropped_events": ("Events dropped with a gap on record: the spool was full", ("worker", "exchange")),
    "flowtape_resent_messages": ("Messages sent to the log again", ("worker", "exchange")),
    "flowtape_rest_requests": ("REST requests", ("worker", "exchange")),
    "flowtape_rest_errors": ("REST requests that failed", ("worker", "exchange")),
    "flowtape_rest_bans": ("Answers that ban us for a while", ("worker", "exchange")),
    "flowtape_rows_written": ("Rows written to a table", ("worker", "table")),
    "flowtape_rows_expired": ("Rows older than their table keeps", ("worker", "table")),
    "flowtape_conflicts": ("Copies that disagree with the first", ("worker", "table")),
    "flowtape_stream_holes": ("Times the log had lost messages before they were read", ("worker", "where")),
    "flowtape_signal_trades": ("Trades applied by the signal engine", ("worker",)),
    "flowtape_signal_flushes": ("Writes of changed keys to Redis", ("worker",)),
    "flowtape_signal_late_trades": ("Trades that came after their candle had closed", ("worker",)),
}  # fmt: skip
_HISTOGRAMS = {
    "flowtape_latency_seconds": (
        "Sampled time of a stage: receive (exchange to us), log (to the log), row (to the table)",
        ("stage", "exchange", "table"),
    ),
    "flowtape_flush_seconds": ("Time of one write to a table", ("table",)),
}
HEARD_S_MAX = 10.0


def names() -> set[str]:
    """Every name Prometheus sees: counters end in ``_total``, histograms have three."""
    counters = {f"{name}_total" for name in _COUNTERS}
    parts = {f"{name}_{part}" for name in _HISTOGRAMS for part in ("bucket", "sum", "count")}
    return set(_GAUGES) | counters | parts


class _Filler:
    """Adds samples; a value that is not there is left out, not zero."""

    def __init__(self) -> None:
        self.made: Families = {}
        kinds: tuple[tuple[dict[str, Any], Callable[..., Family]], ...] = (
            (_GAUGES, GaugeMetricFamily), (_COUNTERS, CounterMetricFamily), (_HISTOGRAMS, HistogramMetricFamily),
        )  # fmt: skip
        for declared, make in kinds:
            for name, (words, labels) in declared.items():
                self.made[name] = make(name, words, labels=labels)

    def put(self, name: str, value: Any, *labels: str, scale: float = 1.0) -> None:
        """One sample of a gauge or a counter."""
        if isinstance(value, bool | int | float):
            family = self.made[f"flowtape_{name}"]
            assert not isinstance(family, HistogramMetricFamily)
            family.add_metric(labels, float(value) * scale)

    def histogram(self, name: str, found: dict[str, Any], *labels: str) -> None:
        """One histogram of a heartbeat."""
        bounds = [*(repr(bound) for bound in BOUNDS_S), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(found["buckets"])), strict=True))
        family = self.made[f"flowtape_{name}"]
        assert isinstance(family, HistogramMetricFamily)
        family.add_metric(labels, buckets, found["sum"])


def families(status: dict[str, Any], complete: Iterable[tuple[Any, ...]], now: int) -> Families:
    """All metrics. ``status`` is that of ``flowtape status``; ``complete`` (exchange, channel, expected, missing)."""
    fill = _Filler()
    for name, beat in status["workers"].items():
        _worker(fill, name, beat, now)
        if "outbox" in beat:
            _producer(fill, name, beat, now)
        for table, counts in beat.get("tables", {}).items():
            _table(fill, name, table, counts)
        if "trades" in beat and "flushes" in beat:
            _signal(fill, name, beat)
    _servers(fill, status)
    for exchange, channel, expected, missing in complete:
        if expected:
            fill.put("completeness_ratio", 1.0 - (missing or 0) / expected, exchange, channel)
    return fill.made


def _worker(fill: _Filler, name: str, beat: dict[str, Any], now: int) -> None:
    age_s = max(now - beat["as_of"], 0) / 1e6
    fill.put("up", age_s <= HEARD_S_MAX, name)
    fill.put("heartbeat_age_seconds", age_s, name)
    fill.put("worker_start_time_seconds", beat.get("started"), name, scale=1e-6)
    fill.put("worker_memory_bytes", beat.get("memory_bytes"), name)
    fill.put("worker_cpu_seconds", beat.get("cpu_s"), name)
    fill.put("web_sockets", beat.get("sockets"), name)


def _producer(fill: _Filler, name: str, beat: dict[str, Any], now: int) -> None:
    exchange, outbox, rest = beat.get("exchange", ""), beat["outbox"], beat.get("rest", {})
    of = name, exchange
    for channel, frames in beat.get("channels", {}).items():
        fill.put("frames", frames, *of, channel)
    for kind, events in outbox.get("kinds", {}).items():
        fill.put("events", events, *of, WORD[kind].channel if kind in WORD else kind)
    for cause, count in beat.get("causes", {}).items():
        fill.put("reconnects", count, *of, cause)
    for metric, value in (
        ("bad_frames", beat.get("bad_frames")), ("connections", beat.get("connected")),
        ("connections_wanted", beat.get("connections")), ("outbox_waiting_events", outbox["waiting"]),
        ("outbox_in_flight_messages", outbox["in_flight"]), ("spool_bytes", outbox["spool_bytes"]),
        ("dropped_events", outbox["dropped"]), ("resent_messages", outbox["resent"]),
        ("rest_requests", rest.get("requests")), ("rest_errors", rest.get("errors")),
        ("rest_bans", rest.get("banned")), ("rest_budget_used_ratio", rest.get("budget_used")),
        ("gaps_open", beat.get("gaps", {}).get("open")),
    ):  # fmt: skip
        fill.put(metric, value, *of)
    fill.put("clock_offset_seconds", rest.get("clock_offset_ms"), *of, scale=1e-3)
    if beat.get("exchange_time"):
        fill.put("exchange_time_age_seconds", (now - beat["exchange_time"]) / 1e6, *of)
    fill.put("duplicates_dropped", outbox["duplicates"], name, "log")
    fill.put("dead", outbox["dead"], name, "frames")


def _table(fill: _Filler, name: str, table: str, counts: dict[str, Any]) -> None:
    fill.put("rows_written", counts.get("rows"), name, table)
    fill.put("rows_expired", counts.get("expired"), name, table)
    fill.put("conflicts", counts.get("conflicts"), name, table)
    fill.put("duplicates_dropped", counts.get("duplicates"), name, table)
    fill.put("dead", counts.get("dead"), name, table)
    fill.put("stream_holes", counts.get("holes"), name, table)
    for stage, its in counts.get("latency", {}).items():
        for exchange, found in its.items():
            if stage == "flush":
                fill.histogram("flush_seconds", found, table)
            else:
                fill.histogram("latency_seconds", found, stage, exchange, table)


def _signal(fill: _Filler, name: str, beat: dict[str, Any]) -> None:
    fill.put("signal_lag_messages", beat.get("lag"), name)
    fill.put("signal_trades", beat["trades"], name)
    fill.put("signal_flushes", beat["flushes"], name)
    fill.put("signal_late_trades", beat.get("late"), name)
    fill.put("duplicates_dropped", beat.get("duplicates"), name, "signals")
    fill.put("stream_holes", beat.get("holes"), name, "signals")


def _servers(fill: _Filler, status: dict[str, Any]) -> None:
    for name, server in status["servers"].items():
        fill.put("server_up", server.get("alive"), name)
    for name, stream in status["streams"].items():
        fill.put("stream_messages", stream["messages"], name)
        fill.put("stream_bytes", stream["bytes"], name)
    for name, consumer in status["consumers"].items():
        fill.put("consumer_lag_messages", consumer["lag"], name)
    for name, rows in status["tables"].items():
        fill.put("table_rows", rows, name)
        fill.put("table_suspended", name in status["suspended"], name)
    fill.put("tables_suspended", len(status["suspended"]))
    fill.put("dead_letters", status["dead_letters"])
    fill.put("footprint_keys", status["footprints"]["keys"])
    fill.put("problems", len(status["problems"]))
