"""``python -m producers``: the matrix of docs/exchanges.md, made from the declarations."""

from __future__ import annotations

import sys
from pathlib import Path

from producers._exchange import Channel, Exchange, every
from schemas.names import CHANNELS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "exchanges.md"
BEGIN = "<!-- made by `python -m producers` from the declarations -->"
END = "<!-- end of what is made -->"


def matrix() -> str:
    """Exchange × channel: where each comes from, and which part of all liquidations."""
    lines = [f"| exchange | {' | '.join(CHANNELS)} |", "|---" * (len(CHANNELS) + 1) + "|"]
    for name, exchange in sorted(every().items()):
        cells = (_source(word, exchange.channels.get(word)) for word in CHANNELS)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _source(word: str, channel: Channel | None) -> str:
    if channel is None:
        return "none"
    source = "WebSocket" if channel.topics else "REST"
    return f"{source}, {channel.coverage}" if word == "liquidations" else source


def history() -> str:
    """Exchange × channel: what REST still has of the past."""
    words = [word for word in CHANNELS if word not in ("liquidations", "books")]
    lines = [f"| exchange | {' | '.join(words)} |", "|---" * (len(words) + 1) + "|"]
    for name, exchange in sorted(every().items()):
        cells = (_trades(exchange) if word == "trades" else _past(exchange.channels.get(word)) for word in words)
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _trades(exchange: Exchange) -> str:
    ways = [("by id", exchange.history is not None), ("by time", exchange.recent is not None)]
    reach = _reach(exchange.recent.reach_s, exchange.recent.rows_max) if exchange.recent is not None else ""
    return (", ".join(way for way, there in ways if there) or "none") + reach


def _past(channel: Channel | None) -> str:
    past = channel.past if channel is not None else None
    if past is None:
        return "none"
    intervals = f"{past.intervals[0]} to {past.intervals[-1]}" if past.intervals else "yes"
    return intervals + _reach(past.reach_s, past.reach_rows)


def _reach(seconds: float, rows: int) -> str:
    return f", last {seconds / 86_400:.0f} days" if seconds else f", last {rows:,}" if rows else ""


def document(text: str) -> str:
    """``text`` with a fresh matrix between its marks. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no line {(END if begin else BEGIN)!r}")
    return f"{before}{BEGIN}\n\n{matrix()}\n\nHistory over REST:\n\n{history()}\n\n{END}{after}"


def main() -> None:
    """Write the matrix into docs/exchanges.md."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("docs/exchanges.md\n")


if __name__ == "__main__":
    main()
