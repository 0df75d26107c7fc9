"""Each NATS user may do what its role needs and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from flowtape import bus
from schemas.settings import ConfigError, load
from tests.conftest import Stack

DENIED = {
    "app": [
        "md.trade.binance.BTC-USDT", "sig.footprint.binance.BTC-USDT.1m", "md.dead.trade.binance",
        "replay.md.trade.binance.BTC-USDT", "replay.sig.footprint.binance.BTC-USDT.1m",
        "$KV.instruments.binance.BTC-USDT", "$JS.API.STREAM.DELETE.MD_TRADE", "$JS.API.STREAM.PURGE.MD_TRADE",
        "$JS.API.STREAM.CREATE.MINE", "$JS.API.CONSUMER.DELETE.MD_TRADE.questdb-trades",
        "$JS.API.CONSUMER.MSG.NEXT.MD_TRADE.questdb-trades", "$JS.ACK.MD_TRADE.questdb-trades.1.1.1.1.0",
        "$JS.API.CONSUMER.CREATE.MD_TRADE.questdb-trades", "$JS.API.CONSUMER.DURABLE.CREATE.MD_TRADE.questdb-trades",
    ],
    "producer": [
        "sig.footprint.binance.BTC-USDT.1m", "$JS.API.STREAM.DELETE.MD_TRADE", "$JS.API.STREAM.PURGE.MD_TRADE",
        "$JS.API.STREAM.UPDATE.MD_TRADE", "$JS.API.CONSUMER.DELETE.MD_TRADE.questdb-trades",
        "$JS.ACK.MD_TRADE.questdb-trades.1.1.1.1.0",
    ],
    "consumer": [
        "md.trade.binance.BTC-USDT", "sig.footprint.binance.BTC-USDT.1m", "$KV.instruments.binance.BTC-USDT",
        "$KV.cursors.binance.BTC-USDT", "$JS.API.STREAM.DELETE.MD_TRADE", "$JS.API.STREAM.PURGE.MD_TRADE",
        "$JS.API.STREAM.UPDATE.MD_TRADE",
    ],
    "signal": [
        "md.trade.binance.BTC-USDT", "md.dead.trade.binance", "$JS.API.STREAM.DELETE.MD_TRADE",
        "replay.md.trade.binance.BTC-USDT", "$JS.API.STREAM.PURGE.MD_TRADE", "$KV.cursors.binance.BTC-USDT",
    ],
}  # fmt: skip
ALLOWED = {
    "producer": "md.trade.binance.BTC-USDT",
    "consumer": "md.dead.trade.binance",
    "signal": "sig.footprint.binance.BTC-USDT.1m",
}


class _Login:
    def __init__(self, client: Client, errors: list[str]) -> None:
        self.client, self.errors = client, errors

    async def denied(self, count: int = 1) -> list[str]:
        """What the server has refused, once it is ``count`` refusals: they are told in a task of their own."""
        await self.client.flush()
        for _ in range(500):
            if len(self.errors) >= count:
                break
            await asyncio.sleep(0.01)
        return self.errors


async def _login(stack: Stack, role: str, errors: list[str]) -> Client:
    async def on_error(error: Exception) -> None:
        errors.append(str(error))

    return await nats.connect(
        stack.nats_url, user=role, password="", error_cb=on_error, allow_reconnect=False,
        inbox_prefix=b"_INBOX" if role == "app" else f"_INBOX_{role}".encode(),
    )  # fmt: skip


@pytest.fixture
async def login(nats: Client, stack: Stack) -> AsyncIterator:
    opened: list[Client] = []

    async def open_(role: str) -> _Login:
        errors: list[str] = []
        opened.append(await _login(stack, role, errors))
        return _Login(opened[-1], errors)

    yield open_
    for client in opened:
        await client.close()


@pytest.mark.parametrize(("role", "subject"), [(r, s) for r, subjects in DENIED.items() for s in subjects])
async def test_a_denied_verb_is_refused(login, role: str, subject: str) -> None:
    user = await login(role)
    await user.client.publish(subject, b"{}")
    assert any("permissions violation" in error.lower() for error in await user.denied())


@pytest.mark.parametrize(("role", "subject"), sorted(ALLOWED.items()))
async def test_a_role_may_publish_its_own_subject(login, role: str, subject: str) -> None:
    user = await login(role)
    answer = await user.client.jetstream().publish(subject, b"{}")
    assert answer.seq >= 1
    await user.client.flush()
    assert user.errors == []


@pytest.mark.parametrize("role", ["producer", "consumer", "signal"])
async def test_no_role_reads_another_roles_replies(login, role: str) -> None:
    user = await login(role)
    for other in {"producer", "consumer", "signal"} - {role}:
        await user.client.subscribe(f"_INBOX_{other}.>")
    assert len(await user.denied(2)) == 2


async def test_anyone_on_loopback_may_read_live_and_history_without_a_login(nats: Client, stack: Stack) -> None:
    import nats as library

    await nats.jetstream().publish("md.trade.binance.BTC-USDT", b'{"history":1}')
    client = await library.connect(stack.nats_url, allow_reconnect=False)
    live = await client.subscribe("md.>")
    await client.flush()
    await nats.publish("md.trade.binance.BTC-USDT", b'{"live":1}')
    assert (await live.next_msg(timeout=5)).data == b'{"live":1}'
    history = await client.jetstream().subscribe(
        "md.trade.>", ordered_consumer=True, config=ConsumerConfig(deliver_policy="all")
    )
    assert (await history.next_msg(timeout=5)).data == b'{"history":1}'
    await client.close()


async def test_off_loopback_a_login_without_a_password_is_refused() -> None:
    settings = load('[nats]\nurl = "nats://nats.example:4222"\nembedded = false', {})
    with pytest.raises(ConfigError, match=r"nats\.password"):
        await bus.connect(settings, "app")
