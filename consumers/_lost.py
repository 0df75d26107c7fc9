"""What the log lost before a table had it, put where the producers' ledger finds it: as gaps to be filled over REST.

A consumer knows sequences, not what was in them. Per symbol it says: behind the last trade the table has, up to the
first one the log still holds. Nothing that is there twice does harm.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from consumers._questdb import Questdb, statement
from consumers._watermark import Finding
from schemas import names, time
from schemas.events import Gap, Trade, encode

log = structlog.get_logger()
_decode = msgspec.json.Decoder(Trade).decode_lines


async def report(
    js: JetStreamContext, questdb: Questdb, stream: str, first: int, findings: Sequence[Finding], now: int
) -> int:  # fmt: skip
    """Put a gap for every symbol of the table; how many. Raises nats errors and as Questdb does.

    ``first`` is the first sequence the stream has, ``now`` µs.
    """
    messages, what = sum(finding.messages for finding in findings), findings[-1].what
    said = f"{stream}: {what}, {messages} messages before {first} may be missing"
    count, latest = 0, await questdb.fetch(statement("last_trades"))
    alive = max((last for *_, last in latest), default=0) - time.DAY  # others were given up long before
    for exchange, symbol, last in [each for each in latest if each[2] >= alive]:
        following = await _following(js, stream, first, exchange, symbol)
        end = now if following is None else following
        if end > last:
            gap = Gap(
                exchange, symbol, last, now, "trades", None, None, last, end, names.CAUSE_RETENTION, "open", None, 0,
                said, now,
            )  # fmt: skip
            await js.publish(names.bucket_subject(names.BUCKET_CURSORS, names.gap_key(gap)), encode(gap))
            count += 1
    log.warning("lost_reported", stream=stream, what=what, messages=messages, symbols=count)
    return count


async def _following(js: JetStreamContext, stream: str, first: int, exchange: str, symbol: str) -> int | None:
    """The time of the symbol's first trade that the stream still has, µs; None where it has none."""
    try:
        found = await js.get_msg(
            stream, seq=first, subject=names.subject("trade", exchange, symbol), next=True, direct=True
        )
    except NotFoundError:
        return None
    try:
        return min((trade.timestamp for trade in _decode(found.data or b"")), default=None)
    except msgspec.MsgspecError:
        return None
