"""A key-value bucket read whole: every key, or every version of every key, and surely all of them.

nats-py's ``watch`` tells the end of what a bucket holds by two numbers taken at different moments: what the server has
yet to send, and what has come. Where all was sent and nothing has come yet both are zero, and the bucket looks empty:
one read in seventy, measured on an idle machine. Here both numbers come from one answer of the server.
"""

from __future__ import annotations

from typing import NamedTuple

from nats.aio.client import Client
from nats.js.api import DeliverPolicy
from nats.js.kv import KV_MARKER_REASON, KV_OP

from schemas.names import bucket_subject

SILENCE_S_MAX = 5.0
"""So long a message of the bucket may take."""
_FORGET_S = 5.0
"""A consumer nobody listens to any more is gone after so long."""


class Entry(NamedTuple):
    """A key's value, and its place among all that was ever put into the bucket."""

    key: str
    value: bytes
    revision: int


async def read(
    nats: Client, bucket: str, keys: str = ">", *, history: bool = False, timeout_s: float = SILENCE_S_MAX
) -> list[Entry]:
    """The newest value of each key (``history``: all that are kept), oldest first, deleted ones left out.

    Raises nats errors, among them NotFoundError where there is no such bucket and TimeoutError.
    """
    context, first = nats.jetstream(timeout=timeout_s), len(bucket_subject(bucket, ""))
    subscription = await context.subscribe(
        bucket_subject(bucket, keys), stream=f"KV_{bucket}", ordered_consumer=True, inactive_threshold=_FORGET_S,
        deliver_policy=DeliverPolicy.ALL if history else DeliverPolicy.LAST_PER_SUBJECT,
    )  # fmt: skip
    found = []
    try:
        told = await subscription.consumer_info()
        sent = told.delivered.consumer_seq if told.delivered is not None else 0
        for _ in range(sent + (told.num_pending or 0)):
            message = await subscription.next_msg(timeout=timeout_s)
            if not (message.headers or {}).keys() & {KV_OP, KV_MARKER_REASON}:
                found.append(Entry(message.subject[first:], message.data, message.metadata.sequence.stream))
    finally:
        await subscription.unsubscribe()
    return found
