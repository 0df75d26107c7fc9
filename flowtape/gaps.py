"""``flowtape gaps``: what is missing, what was filled, and on what evidence; for people and for scripts."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from consumers._questdb import Questdb, QuestdbRefused, QuestdbUnreachable, statement
from schemas import time
from schemas.settings import Settings

_FIELDS = (
    "exchange", "symbol", "channel", "timestamp", "from_id", "to_id", "from_timestamp", "to_timestamp", "cause",
    "status", "expected", "filled", "evidence", "updated", "revision",
)  # fmt: skip
_COUNTED = ("exchange", "symbol", "channel", "status", "gaps", "missing")
SHOWN_MAX = 50


async def collect(settings: Settings) -> dict[str, Any]:
    """``counts`` by symbol and status over all gaps, and the newest thousand ``gaps``. Raises as Questdb does."""
    questdb = Questdb(settings.questdb.pg)
    try:
        counts = [dict(zip(_COUNTED, row, strict=True)) for row in await questdb.fetch(statement("gaps_counted"))]
        gaps = [dict(zip(_FIELDS, row, strict=True)) for row in await questdb.fetch(statement("gaps_latest"))]
    finally:
        await questdb.close()
    for count in counts:  # what never existed is not missing
        count["missing"] = 0 if count["status"] in ("filled", "nonexistent") else int(count["missing"] or 0)
    return {"counts": counts, "gaps": gaps}


async def show(settings: Settings, *, as_json: bool) -> int:
    """Print the gaps; 1 where the table cannot be read."""
    try:
        found = await collect(settings)
    except (QuestdbUnreachable, QuestdbRefused) as error:
        sys.stderr.write(f"flowtape: {error}\n")
        return 1
    if as_json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    else:
        _print(found)
    return 0


def _print(found: dict[str, Any]) -> None:
    console = Console()
    if not found["gaps"]:
        console.print("no gaps")
        return
    table = Table("exchange", "symbol", "channel", "status", "gaps", "missing")
    for count in found["counts"]:
        table.add_row(*(str(count[name]) for name in _COUNTED))
    console.print(table)
    table = Table("since", "symbol", "ids", "cause", "status", "filled", "evidence")
    for gap in found["gaps"][:SHOWN_MAX]:
        ids = f"{gap['from_id']}-{gap['to_id']}" if gap["from_id"] else gap["channel"]
        filled = f"{gap['filled']}/{gap['expected']}"
        since = time.iso(gap["timestamp"])[:19]
        table.add_row(since, f"{gap['exchange']}:{gap['symbol']}", ids, gap["cause"], gap["status"], filled,
                      gap["evidence"][:80])  # fmt: skip
    console.print(table)
