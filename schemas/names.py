"""Every string that crosses a process: words, subjects, streams, headers, message ids, Redis keys, tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from schemas.events import Event, Gap, Kline, Liquidation, Trade, encode, identity, kind


class Word(NamedTuple):
    """One thing's two spellings and the stream that holds it."""

    kind: str
    channel: str
    stream: str


WORDS = (
    Word("trade", "trades", "MD_TRADE"),
    Word("liquidation", "liquidations", "MD_LIQUIDATION"),
    Word("book", "books", "MD_BOOK"),
    Word("kline", "klines", "MD_KLINE"),
    Word("open_interest", "open_interest", "MD_OPEN_INTEREST"),
    Word("funding", "funding", "MD_FUNDING"),
    Word("gap", "gaps", "MD_GAP"),
)
WORD = {name: word for word in WORDS for name in (word.kind, word.channel)}
"""Either form of a word, as CLI and config accept it."""
CHANNELS = tuple(word.channel for word in WORDS if word.kind != "gap")

# --- JetStream -------------------------------------------------------------------------------------------------
STREAM_SIGNALS, STREAM_DEAD = "SIGNALS", "MD_DEAD"
BUCKET_INSTRUMENTS, BUCKET_CURSORS = "instruments", "cursors"
HEADER_ID, HEADER_EVENTS = "Nats-Msg-Id", "Flowtape-Events"
HEADER_REASON, HEADER_ORIGIN = "Flowtape-Reason", "Flowtape-Origin"
"""On dead letters: why, and where the bytes came from (a socket, or ``<stream>:<sequence>``)."""
DUPLICATE_WINDOW_S = 120


def subject(kind: str, exchange: str, symbol: str, interval: str = "") -> str:
    """``md.trade.binance.BTC-USDT``, ``md.kline.binance.BTC-USDT.1m``."""
    return f"md.{kind}.{exchange}.{symbol}.{interval}" if interval else f"md.{kind}.{exchange}.{symbol}"


def event_subject(event: Event) -> str:
    """The subject an event is published on."""
    name = kind(event)
    if name == "clock":
        return clock_subject(event.exchange)
    interval = event.interval if isinstance(event, Kline) else ""
    return subject(name, event.exchange, event.symbol, interval)  # type: ignore[union-attr]  # only Clock has none


def clock_subject(exchange: str) -> str:
    """``md.clock.binance``."""
    return f"md.clock.{exchange}"


def dead_subject(kind: str, exchange: str) -> str:
    """``md.dead.trade.binance``; ``kind`` is ``frame`` for a frame that could not be told apart."""
    return f"md.dead.{kind}.{exchange}"


def signal_subject(signal: str, exchange: str, symbol: str, interval: str = "") -> str:
    """``sig.footprint.binance.BTC-USDT.1m``."""
    return f"sig.{signal}.{exchange}.{symbol}" + (f".{interval}" if interval else "")


def alert_subject(rule: str, exchange: str, symbol: str) -> str:
    """``sig.alert.btc-stacks.binance.BTC-USDT``."""
    return f"sig.alert.{rule}.{exchange}.{symbol}"


def stream_subjects(stream: str) -> list[str]:
    """The subjects a stream takes in."""
    if stream == STREAM_SIGNALS:
        return ["sig.>"]
    if stream == STREAM_DEAD:
        return ["md.dead.>"]
    word = next(word for word in WORDS if word.stream == stream)
    return [f"md.{word.kind}.>", "md.clock.>"] if word.kind == "trade" else [f"md.{word.kind}.>"]


STREAMS = (*(word.stream for word in WORDS), STREAM_SIGNALS, STREAM_DEAD)


# --- replays ---------------------------------------------------------------------------------------------------
HEADER_SEQUENCE, HEADER_RECEIVED = "Flowtape-Sequence", "Flowtape-Received"
"""On replayed messages: their sequence in the stream they were first stored in, and when they came in, µs."""
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")


def is_prefix(text: str) -> bool:
    """Whether replayed data may bear ``text``: one token, unlike those of live subjects and keys."""
    return _PREFIX.fullmatch(text) is not None and text not in ("md", "sig", "all")


def prefixed(prefix: str, subject: str) -> str:
    """``replay.md.trade.binance.BTC-USDT``."""
    return f"{prefix}.{subject}"


def prefixed_key(prefix: str, key: str) -> str:
    """``replay:footprint:binance:BTC-USDT:1m``; the key itself without a prefix."""
    return f"{prefix}:{key}" if prefix else key


def end_subject(prefix: str) -> str:
    """``replay.md.end``: nothing follows."""
    return f"{prefix}.md.end"


def replay_stream(prefix: str) -> str:
    """``replay_MD``: everything that is replayed under a prefix, in order of receipt."""
    return f"{prefix}_MD"


def replay_signals(prefix: str) -> str:
    """``replay_SIGNALS``: what is computed from it."""
    return f"{prefix}_SIGNALS"


def table_durable(table: str) -> str:
    """The durable consumer that fills a table: ``questdb-trades``."""
    return f"questdb-{table}"


def signal_durable(signal: str) -> str:
    """The consumer name, and watermark field, of a signal engine: ``redis-footprint``."""
    return f"redis-{signal}"


CAUSE_SPOOL = "spool_full"
"""The cause of a gap of events that neither memory nor spool had room for; its ids are ids of trades."""
CAUSE_RETENTION = "retention"
"""The cause of a gap that a consumer found: the log no longer had what a table still lacked."""


def gap_key(gap: Gap) -> str:
    """Where the bucket ``cursors`` keeps a gap that somebody still has to fill."""
    if gap.cause == CAUSE_RETENTION:
        return f"{gap.exchange}.{gap.symbol}.lost.{gap.timestamp}"
    return f"{gap.exchange}.{gap.symbol}.{gap.from_id or f't{gap.timestamp}'}"


def bucket_subject(bucket: str, key: str) -> str:
    """The subject by which a value is put into a bucket."""
    return f"$KV.{bucket}.{key}"


def event_message_id(event: Event) -> str:
    """The ``Nats-Msg-Id`` of one event: it suppresses only what is truly the same."""
    match event:
        case Trade():
            return f"{event.exchange}:{event.symbol}:{event.trade_id}"
        case Liquidation():
            return f"{event.exchange}:{event.symbol}:{event.liquidation_id}"
        case Kline():
            content = (event.open, event.high, event.low, event.close, event.volume, event.value, event.trades)
            mark = _hash(msgspec.json.encode(content))
            return f"{event.exchange}:{event.symbol}:kline:{event.interval}:{event.timestamp}:{mark}"
        case Gap():
            ids = f"{event.channel}:{event.timestamp}:{event.from_id or ''}"
            return f"{event.exchange}:{event.symbol}:gap:{ids}:{event.status}:{event.filled}"
        case _:
            who = ":".join(str(part) for part in identity(event))
            return f"{kind(event)}:{who}"


def batch_message_id(exchange: str, symbol: str, ids: Sequence[str]) -> str:
    """The ``Nats-Msg-Id`` of several events in one message: ids and count differ, so the message differs."""
    mark = _hash("\n".join(ids).encode())
    return f"{exchange}:{symbol}:{ids[0]}-{ids[-1]}:{len(ids)}:{mark}"


def dead_message_id(exchange: str, moment: int, number: int, raw: bytes) -> str:
    """The ``Nats-Msg-Id`` of a dead letter: of what was given up as the ``number``-th message, at ``moment`` (µs).

    The same bytes given up twice are two letters; one that is sent twice is one.
    """
    return f"dead:{exchange}:{moment}:{number}:{_hash(raw)}"


def candle_message_id(
    exchange: str, symbol: str, signal: str, interval: str, timestamp: int, revision: int, gaps_as_of: int = 0
) -> str:
    """The ``Nats-Msg-Id`` of a closed candle of ours; ends in ``gaps_as_of`` where a gap touches it."""
    ending = f":{gaps_as_of}" if gaps_as_of else ""
    return f"{signal}:{exchange}:{symbol}:{interval}:{timestamp}:{revision}{ending}"


def detection_message_id(
    signal: str, exchange: str, symbol: str, interval: str, timestamp: int, event: str, side: str, price: float
) -> str:
    """The ``Nats-Msg-Id`` of a detection: the same from every run over the same trades."""
    return f"{signal}:{exchange}:{symbol}:{interval}:{timestamp}:{event}:{side}:{price!r}"


def _hash(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


def payload(events: Sequence[Event]) -> bytes:
    """One or more events of a subject, one JSON object per line."""
    return b"\n".join(map(encode, events))


REVISED = "revised"
"""In place of a symbol: the corrected candles of an exchange. No symbol is written in small letters."""


def past_prefix(exchange: str) -> str:
    """``past.binance``, followed by a symbol: which part of its slow series is in the log."""
    return f"past.{exchange}"


def first_prefix(exchange: str) -> str:
    """``first.binance``, followed by a symbol: how far the trades before its first start were read."""
    return f"first.{exchange}"


# --- Redis -----------------------------------------------------------------------------------------------------
KEY_HEALTH = "health"


def key(name: str, exchange: str, symbol: str, *more: str) -> str:
    """``footprint:binance:BTC-USDT:1m``, ``cvd:binance:BTC-USDT``, ``live:…``, ``profile:…:session``."""
    return ":".join((name, exchange, symbol, *more))


def anchored(begin: int) -> str:
    """``anchored-20261122T000000Z``: the range, or the anchor, that begins at ``begin`` µs."""
    return f"anchored-{datetime.fromtimestamp(begin // 1_000_000, UTC):%Y%m%dT%H%M%SZ}"


def rolling(length: str) -> str:
    """``rolling-4h``."""
    return f"rolling-{length}"


def detections_key(exchange: str, symbol: str, signal: str) -> str:
    """``detections:binance:BTC-USDT:absorption``: the last detections of a signal."""
    return key("detections", exchange, symbol, signal)


def watermark_key(consumer: str) -> str:
    """``watermark:redis-footprint``: stream sequence and creation time, written with the state it covers."""
    return f"watermark:{consumer}"


UNCLEAN_START = "questdb-unclean-start"
"""File of ``data_dir``: when QuestDB was last started without having been stopped cleanly, in µs."""

# --- QuestDB ---------------------------------------------------------------------------------------------------
TABLES = (
    "trades", "liquidations", "books", "klines", "open_interest", "funding", "gaps",
    "instruments", "completeness", "candles", "footprints",
)  # fmt: skip
