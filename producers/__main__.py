"""``python -m producers``: the matrix of docs/exchanges.md, made from the declarations."""

from __future__ import annotations

import sys
from pathlib import Path

from producers._exchange import Channel, every
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


def document(text: str) -> str:
    """``text`` with a fresh matrix between its marks. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no line {(END if begin else BEGIN)!r}")
    return f"{before}{BEGIN}\n\n{matrix()}\n\n{END}{after}"


def main() -> None:
    """Write the matrix into docs/exchanges.md."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("docs/exchanges.md\n")


if __name__ == "__main__":
    main()
