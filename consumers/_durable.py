"""The durable consumer behind a table: made, made again from a sequence, put back to its ack floor."""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

ACK_WAIT_S = 60.0


class Durable(NamedTuple):
    """A consumer of ``stream`` named ``name`` that reads ``subjects``."""

    stream: str
    name: str
    subjects: str
    ack_pending_max: int

    def config(self, start: int | None = None) -> ConsumerConfig:
        """Explicit acks, no limit on deliveries: an outage must not turn good rows into dead letters."""
        return ConsumerConfig(
            durable_name=self.name,
            filter_subject=self.subjects,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,
            max_ack_pending=self.ack_pending_max,
            deliver_policy=DeliverPolicy.ALL if start is None else DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=start,
        )

    async def ensure(self, js: JetStreamContext) -> ConsumerInfo:
        """The consumer, made from the start of the stream where it is not there. Raises nats errors."""
        try:
            info: ConsumerInfo = await js.consumer_info(self.stream, self.name)
        except NotFoundError:
            return await js.add_consumer(self.stream, self.config())
        if info.config.max_ack_pending == self.ack_pending_max and info.config.filter_subject == self.subjects:
            return info
        wanted = self.config(info.config.opt_start_seq)
        return await js.add_consumer(self.stream, wanted)

    async def restart(self, js: JetStreamContext, start: int | None = None) -> ConsumerInfo:
        """Deliver again from ``start`` (None: all there is), whatever was acked before. Raises nats errors."""
        with suppress(NotFoundError):  # gone already: that is what was wanted
            await js.delete_consumer(self.stream, self.name)
        return await js.add_consumer(self.stream, self.config(start))
