"""What ``flowtape top`` draws: tables of exchanges, symbols and liquidations, and the footprint of one symbol."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.time import SECOND

BAR = 16
"""Characters of the widest bar."""
HEAD_ROWS = 24
"""Lines the parts beside the footprint take, roughly: it gets what is left."""


def screen(
    now: dict[str, Any], before: dict[str, Any], hot: list[tuple[Any, ...]], liquidations: list[tuple[Any, ...]],
    chosen: tuple[str, str] | None, candle: dict[str, Any] | None, height: int,
) -> RenderableType:  # fmt: skip
    """The whole screen."""
    parts: list[RenderableType] = [_head(now), _exchanges(now, before)]
    parts.append(Columns([_hot(hot, chosen), _liquidations(liquidations)], padding=(0, 3)))
    if chosen:
        parts.append(footprint(chosen, candle, max(6, height - HEAD_ROWS)))
    parts += [Text(f"! {problem}", "red") for problem in now["problems"][:3]]
    return Group(*parts)


def _head(now: dict[str, Any]) -> Text:
    at = datetime.fromtimestamp(now["as_of"] / SECOND, UTC)
    rows = now.get("tables", {}).get("trades", 0)
    return Text.assemble(
        ("flowtape ", "bold"), f"{at:%H:%M:%S} UTC   trades {rows:,}   lag {now['lag']:,}   ",
        f"dead letters {now.get('dead_letters', 0):,}   ", ("q quit  n next symbol  p previous", "dim"),
    )  # fmt: skip


def _exchanges(now: dict[str, Any], before: dict[str, Any]) -> Table:
    seconds = max((now["as_of"] - before.get("as_of", 0)) / SECOND, 0.001)
    table = Table("exchange", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for word in ("sockets", "frames/s", "events/s", "exchange's time", "gaps", "reconnects", "waiting"):
        table.add_column(word, justify="right")
    for name, beat in sorted(now["workers"].items()):
        if "outbox" not in beat:
            continue
        earlier = before.get("workers", {}).get(name)
        frames = _rate(beat, earlier, "frames", seconds)
        events = _rate(beat["outbox"], earlier and earlier.get("outbox", {}), "events", seconds)
        age = (now["as_of"] - beat["exchange_time"]) / SECOND if beat.get("exchange_time") else None
        have, wanted = beat.get("connected", 0), beat.get("connections", 0)
        table.add_row(
            name, Text(f"{have}/{wanted}", "" if have == wanted else "red"), frames, events,
            "" if age is None else f"{age:.1f} s ago", str(beat.get("gaps", {}).get("open", "")),
            str(beat.get("reconnects", "")), str(beat["outbox"].get("waiting", "")),
        )  # fmt: skip
    return table


def _rate(now: dict[str, Any], before: dict[str, Any] | None, word: str, seconds: float) -> str:
    """A second's worth of a counter; a worker that has only begun may not have it yet."""
    return "" if before is None else f"{max(now.get(word, 0) - before.get(word, 0), 0) / seconds:,.0f}"


def _hot(rows: list[tuple[Any, ...]], chosen: tuple[str, str] | None) -> Table:
    table = Table("hottest, last minute", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for word in ("price", "trades", "value"):
        table.add_column(word, justify="right")
    for exchange, symbol, trades, value, price in rows:
        style = "reverse" if (exchange, symbol) == chosen else ""
        table.add_row(Text(f"{exchange}:{symbol}", style), f"{price:,}", f"{trades:,}", f"{value or 0:,.0f}")
    return table


def _liquidations(rows: list[tuple[Any, ...]]) -> Table:
    table = Table("last liquidations", "side", box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("value", justify="right")
    for exchange, symbol, timestamp, _, _, side, _, _, value, _ in rows:
        at = datetime.fromtimestamp(timestamp / SECOND, UTC)
        style = "red" if side == "long" else "green"
        table.add_row(f"{at:%H:%M:%S} {exchange}:{symbol}", Text(side, style), f"{value or 0:,.0f}")
    return table


def footprint(chosen: tuple[str, str], candle: dict[str, Any] | None, lines: int) -> RenderableType:
    """The open minute, the highest row first: sold on the left, bought on the right, at most ``lines`` rows."""
    name = ":".join(chosen)
    if candle is None:
        return Text(f"{name} 1m: no footprint yet", "dim")
    head = Text.assemble(
        (f"\n{name} 1m ", "bold"), f"open {candle['open']:,} close {candle['close']:,}  delta {candle['delta']:+,}  ",
        f"trades {candle['trades']:,}  point of control {candle['poc']:,}",
        "" if candle["complete"] else "  incomplete",
    )  # fmt: skip
    rows = list(zip(candle["prices"], candle["sells"], candle["buys"], strict=True))
    if len(rows) > lines:  # those around the last price
        near = min(range(len(rows)), key=lambda n: abs(rows[n][0] - candle["close"]))
        first = min(max(near - lines // 2, 0), len(rows) - lines)
        rows = rows[first : first + lines]
    most = max((max(sell, buy) for _, sell, buy in rows), default=0) or 1
    table = Table(box=None, show_header=False, padding=(0, 1))
    for justify in ("right", "right", "center", "left", "left"):
        table.add_column(justify=justify)
    for price, sell, buy in reversed(rows):
        style = "bold yellow" if price == candle["poc"] else ""
        table.add_row(
            Text("█" * round(BAR * sell / most), "red"), f"{sell:,.4f}", Text(f"{price:,}", style), f"{buy:,.4f}",
            Text("█" * round(BAR * buy / most), "green"),
        )  # fmt: skip
    return Group(head, table)
