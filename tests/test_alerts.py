"""Alerts: which rule fires on what, once; and webhooks that are signed, retried, bounded and silent about secrets."""

from __future__ import annotations

import asyncio
import contextlib
import json

import msgspec
import pytest
import redis.asyncio as aioredis
from aiohttp import web

from flowtape import bus
from schemas import time
from schemas.alerts import Alert, decode
from schemas.detections import Detection, encode
from schemas.events import Trade
from schemas.events import encode as encode_event
from schemas.settings import ConfigError, TargetSettings, load
from signals import _run, _webhooks
from signals.alerts import Rules, Seen, decode_seen
from tests.harness import eventually
from tests.series import MINUTE, T0, footprint

WHO = ("binance", "BTC-USDT")
SECRET = "never-to-be-told"


def _rules(text: str) -> Rules:
    return Rules(load(f"[[alerts]]\nname = 'r'\n{text}", {}, source="test").alerts)


def _stack(**other) -> Detection:
    fields = {
        "signal": "stack", "exchange": WHO[0], "symbol": WHO[1], "interval": "1m", "timestamp": T0, "side": "buy",
        "event": "opened", "price": 100.0, "low": 99.0, "high": 101.0, "size": 5.0, "value": 500.0, "count": 3,
        "begin": T0, "sequence": 7, "as_of": T0 + MINUTE,
    }  # fmt: skip
    return Detection(**(fields | other))


def _fires(rules: Rules, detection: Detection, signal: str = "") -> list[Alert]:
    return rules.on_signal(signal or detection.signal, decode_seen(encode(detection)))


@pytest.mark.parametrize(
    ("text", "other", "count"),
    [
        ("signal = 'stack'", {}, 1),
        ("signal = 'cascade'", {}, 0),
        ("signal = '*'", {}, 1),
        ("signal = 'divergence'", {"signal": "divergence_swing"}, 1),
        ("signal = 'stack'\nexchange = 'binance*'", {}, 1),
        ("signal = 'stack'\nexchange = 'okx'", {}, 0),
        ("signal = 'stack'\nsymbol = 'BTC-*'", {}, 1),
        ("signal = 'stack'\nsymbol = 'ETH-USDT'", {}, 0),
        ("signal = 'stack'\ninterval = '5m'", {}, 0),
        ("signal = 'stack'\nside = 'sell'", {}, 0),
        ("signal = 'stack'\nevent = 'closed'", {}, 0),
        ("signal = 'stack'\nmin_size = 5.0", {}, 1),
        ("signal = 'stack'\nmin_size = 5.1", {}, 0),
        ("signal = 'stack'\nmin_value = 501.0", {}, 0),
        ("signal = 'stack'", {"symbol": "bad symbol"}, 0),
    ],
)
def test_each_filter_of_a_rule_decides(text, other, count) -> None:
    assert len(_fires(_rules(text), _stack(**other))) == count


def test_the_same_detection_fires_once_and_its_alert_has_the_same_id_anywhere() -> None:
    first, second = _rules("signal = 'stack'"), _rules("signal = 'stack'")
    one = _fires(first, _stack())
    assert _fires(first, _stack()) == []
    assert [alert.id for alert in _fires(second, _stack())] == [one[0].id]
    when = time.iso(T0)[:19]
    assert one[0].text == f"r: stack buy opened, binance BTC-USDT 1m at 100.0 (99.0 to 101.0), size 5.0, {when} UTC"


def test_every_holds_back_what_comes_too_soon_by_event_time() -> None:
    def fired(text):
        rules = _rules(f"signal = 'stack'\n{text}")
        return sum(len(_fires(rules, _stack(timestamp=T0 + n * MINUTE))) for n in range(10))

    assert (fired(""), fired('every = "5m"')) == (10, 2)


def test_anything_on_the_bus_can_be_a_rule_also_a_candle() -> None:
    candle = msgspec.json.encode(footprint(T0, 101.5, [1.0], [2.0], who=WHO))
    found = _rules("signal = 'footprint'\ninterval = '1m'").on_signal("footprint", decode_seen(candle))
    assert [(alert.price, alert.signal) for alert in found] == [(101.5, "footprint")]
    assert _rules("signal = '*'").on_signal("x", Seen("binance", "BTC-USDT", 5)) == []


def test_a_price_rule_fires_when_a_level_is_crossed_however_trades_are_cut_into_batches() -> None:
    prices = [99.0, 100.0, 100.5, 101.0, 100.0, 99.5, 99.5, 100.5, 98.0, 97.0]
    trades = [
        Trade(*WHO, T0 + n, T0 + n, str(n), price, 1.0, price, is_buyer_maker=False) for n, price in enumerate(prices)
    ]
    text = "signal = 'price'\nabove = 100.0\nbelow = 98.0"
    whole = _rules(text).on_trades(trades)
    cut = _rules(text)
    assert [one for trade in trades for one in cut.on_trades([trade])] == whole
    assert [(one.side, one.price, one.low) for one in whole] == [
        ("buy", 100.5, 100.0), ("buy", 100.5, 100.0), ("sell", 97.0, 98.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[alerts]]\nname = 'Bad'\nsignal = 'stack'", "not of lower-case"),
        ("[[alerts]]\nname = 'a'\nsignal = 'x.y'", "no word of sig"),
        ("[[alerts]]\nname = 'a'\nsignal = 'price'", "above or below"),
        ("[[alerts]]\nname = 'a'\nsignal = 'stack'\nabove = 3.0", "above or below"),
        ("[[alerts]]\nname = 'a'\nsignal = 'stack'\ntargets = ['x']", r"no \[targets.x\]"),
        ("[targets.x]\nkind = 'json'\nurl = 'https://example.org'", "x.secret: missing"),
        ("[targets.x]\nkind = 'discord'\nurl = 'http://example.org/x'", "only to loopback"),
        ("[targets.x]\nkind = 'discord'\nurl = 'https://10.0.0.8/x'", "private address"),
        ("[targets.x]\nkind = 'discord'\nurl = 'https://169.254.169.254/x'", "private address"),
        ("[targets.x]\nkind = 'telegram'\nsecret = '$NOPE'\nchat = '1'", "no environment variable NOPE"),
    ],
)
def test_rules_and_targets_that_cannot_be_are_refused(text, told) -> None:
    with pytest.raises(ConfigError, match=told):
        load(text, {}, source="test")


def test_a_secret_may_come_from_the_environment() -> None:
    text = "[targets.x]\nkind = 'telegram'\nsecret = '$TOKEN'\nchat = '1'"
    assert load(text, {"TOKEN": SECRET}, source="test").targets["x"].secret == SECRET


# --- webhooks ---------------------------------------------------------------------------------------------------
class Receiver:
    """A real server that answers with ``statuses`` in turn, then 200, and keeps what it took."""

    def __init__(self, statuses=()) -> None:
        self.statuses, self.taken = list(statuses), []

    async def _take(self, request: web.Request) -> web.Response:
        status = self.statuses.pop(0) if self.statuses else 200
        self.taken.append((status, request.path, dict(request.headers), await request.read()))
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/"} if status == 302 else {})

    @contextlib.asynccontextmanager
    async def serving(self):
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


class Waits:
    """Sleeps that take no time, remembered."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def _target(kind: str, url: str, **other):
    waits = Waits()
    async with _webhooks.session() as session:
        target = _webhooks.Target(
            "t", TargetSettings(kind=kind, url=url, secret=SECRET, **other), session, lambda: T0, waits
        )
        work = asyncio.create_task(target.run())
        try:
            yield target, waits
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def _done(target, count: int) -> None:
    async def there() -> bool:
        return target.sent + target.refused + target.dropped >= count

    await eventually(there, "an answer", 20)


def _alert(n: int = 0) -> Alert:
    return _fires(_rules("signal = 'stack'"), _stack(timestamp=T0 + n))[0]


async def test_json_is_signed_over_time_and_body_so_that_the_receiver_can_check_it() -> None:
    receiver = Receiver()
    async with receiver.serving() as url, _target("json", url + "/hook") as (target, _):
        target.put(1, _alert())
        await _done(target, 1)
    _, path, headers, body = receiver.taken[0]
    assert path == "/hook"
    assert headers["Flowtape-Id"] == decode(body).id
    assert headers["Flowtape-Signature"] == _webhooks.signature(SECRET, int(headers["Flowtape-Timestamp"]), body)
    assert headers["Flowtape-Signature"] != _webhooks.signature("other", int(headers["Flowtape-Timestamp"]), body)
    assert SECRET.encode() not in body


async def test_discord_and_telegram_get_a_line_of_text_in_their_own_shape() -> None:
    receiver = Receiver()
    async with receiver.serving() as url:
        async with _target("discord", url + "/d") as (target, _):
            target.put(1, _alert())
            await _done(target, 1)
        async with _target("telegram", url, chat="42") as (target, _):
            target.put(1, _alert())
            await _done(target, 1)
    assert json.loads(receiver.taken[0][3]) == {"content": _alert().text, "allowed_mentions": {"parse": []}}
    assert receiver.taken[1][1] == f"/bot{SECRET}/sendMessage"
    assert json.loads(receiver.taken[1][3]) == {"chat_id": "42", "text": _alert().text}


async def test_a_failing_receiver_is_tried_again_with_growing_pauses_and_order_is_kept() -> None:
    receiver = Receiver([500, 503, 429])
    async with receiver.serving() as url, _target("json", url) as (target, waits):
        for n in range(3):
            target.put(n + 1, _alert(n))
        await _done(target, 3)
    good = [decode(body).timestamp for status, _, _, body in receiver.taken if status == 200]
    assert good == [T0, T0 + 1, T0 + 2]
    assert [status for status, *_ in receiver.taken] == [500, 503, 429, 200, 200, 200]
    assert waits.slept == sorted(waits.slept)
    assert len(waits.slept) == 3
    assert (target.sent, target.error) == (3, "")


async def test_what_is_refused_for_good_is_not_sent_again_and_no_redirect_is_followed() -> None:
    receiver = Receiver([404, 302])
    async with receiver.serving() as url, _target("json", url) as (target, _):
        target.put(1, _alert(0))
        target.put(2, _alert(1))
        target.put(3, _alert(2))
        await _done(target, 3)
    assert (target.refused, target.sent, len(receiver.taken)) == (2, 1, 3)


async def test_a_receiver_that_is_away_costs_a_bounded_queue_and_tells_no_secret(capsys) -> None:
    async with _target("telegram", "http://127.0.0.1:1", chat="1") as (target, waits):
        for n in range(_webhooks.WAITING_MAX + 5):
            target.put(n, _alert(n))
        assert target.dropped == 5
        await _done(target, 6)
    assert len(waits.slept) >= _webhooks.ATTEMPTS - 1
    assert max(waits.slept) <= _webhooks.WAIT_S_MAX
    out = capsys.readouterr()
    assert "alert_dropped" in out.out + out.err
    assert SECRET not in out.out + out.err
    assert SECRET not in target.error


async def test_a_name_that_leads_to_a_private_address_is_not_reached(monkeypatch) -> None:
    resolver = _webhooks.PublicOnly()

    async def private(host, port=0, family=0):
        return [{"hostname": host, "host": "10.1.2.3", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(resolver._resolver, "resolve", private)
    with pytest.raises(OSError, match="private"):
        await resolver.resolve("hooks.example.org", 443)


# --- the worker -------------------------------------------------------------------------------------------------
async def test_alerts_are_published_once_and_posted_through_a_restart(migrated, nats) -> None:
    receiver = Receiver([500])
    cache = aioredis.Redis.from_url(migrated.redis_url)
    await cache.flushdb()
    async with receiver.serving() as url:
        text = (
            f"[targets.t]\nkind = 'json'\nurl = '{url}'\nsecret = 's'\n[[alerts]]\nname = 'stacks'\nsignal = 'stack'\n"
            "targets = ['t']\n[[alerts]]\nname = 'level'\nsignal = 'price'\nabove = 100.0\n"
        )
        rules = load(text, {}, source="test")
        settings = msgspec.structs.replace(migrated.settings, alerts=rules.alerts, targets=rules.targets)

        @contextlib.asynccontextmanager
        async def worker():
            connection = await bus.connect(settings, "signal")
            stop, health = asyncio.Event(), {}
            work = asyncio.create_task(_run.signal(["alerts"], settings, connection, cache, stop, health))
            try:

                async def reads() -> bool:
                    return health.get("lag") == 0

                await eventually(reads, "the worker at the end of the log")
                yield health
            finally:
                stop.set()
                await work
                await connection.close()

        async def publish(*detections) -> None:
            for one in detections:
                await nats.publish("sig.stack.binance.BTC-USDT.1m", encode(one))
            await nats.flush()

        async def posted(count: int) -> None:
            async def there() -> bool:
                return len({body for status, *_, body in receiver.taken if status == 200}) >= count

            await eventually(there, f"{count} posted")

        async with worker():
            await publish(_stack(), _stack())
            for n, price in enumerate((99.0, 101.0)):
                trade = Trade(*WHO, T0 + n, T0 + n, str(n), price, 1.0, price, is_buyer_maker=False)
                await nats.publish("md.trade.binance.BTC-USDT", encode_event(trade))
            await posted(1)
        await publish(_stack(timestamp=T0 + MINUTE))
        async with worker() as health:
            await posted(2)

            async def settled() -> bool:
                return health["targets"]["t"]["sent"] >= 1

            await eventually(settled, "the answer")
        state = (await nats.jetstream().stream_info("SIGNALS", subjects_filter="sig.alert.>")).state
        assert state.subjects == {"sig.alert.stacks.binance.BTC-USDT": 2, "sig.alert.level.binance.BTC-USDT": 1}
        bodies = [decode(body).timestamp for status, *_, body in receiver.taken if status == 200]
        assert bodies == [T0, T0 + MINUTE], "posted once each"
    await cache.flushdb()
    await cache.aclose()
