"""The pull of a consumer, on a real stream."""

from __future__ import annotations

import asyncio
import time

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from consumers import _pull
from consumers._pull import Pull

STREAM, SUBJECT = "MD_TRADE", "md.trade.pull.A-B"
MESSAGES, BYTES = 3_000, 1_000
NEVER_S = 3_600.0


async def test_when_a_requests_bytes_are_used_up_the_next_is_sent_and_not_waited_for(nats: Client, monkeypatch) -> None:
    """With one request's bytes for all there is, ``take`` would wait for the rest as long as it may."""
    monkeypatch.setattr(_pull, "BYTES_MAX", 100_000)
    assert nats.max_payload + 4_096 < MESSAGES * BYTES, "not run: one request would bring everything"
    for n in range(MESSAGES):
        await nats.publish(SUBJECT, b"%d" % n + b" " * BYTES, headers={"Nats-Msg-Id": f"pull-{n}"})
    await nats.flush()
    config = ConsumerConfig(
        name="pull-test", filter_subject=SUBJECT, ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.ALL,
        max_ack_pending=2 * MESSAGES, mem_storage=True, inactive_threshold=60.0,
    )  # fmt: skip
    await nats.jetstream().add_consumer(STREAM, config)
    pull = Pull(nats, STREAM, "pull-test", 2 * MESSAGES, time.monotonic)
    await pull.open()
    taken: list[int] = []
    async with asyncio.timeout(60):
        while len(taken) < MESSAGES:
            messages = await pull.take(MESSAGES - len(taken), NEVER_S)
            taken += [int(message.data.split()[0]) for message in messages]
            await pull.ack(messages)
    assert taken == list(range(MESSAGES))
    await pull.close()
    await nats.jetstream().delete_consumer(STREAM, "pull-test")
