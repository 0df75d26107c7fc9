"""The one connection loop, for every exchange: connect, subscribe, read, watch, and start over for ever.

What differs between exchanges is declared (``_exchange.py``); nothing here knows one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import structlog

from producers._exchange import Exchange, FrameError, Limits, Session, Setup, SubscriptionRejected
from producers._feeds import Feed
from producers._freshness import Freshness
from producers._revisions import Sink
from producers._transport import Connect, Link

BACKOFF_S_FIRST, BACKOFF_S_MAX = 0.5, 30.0
STABLE_S = 30.0
"""A connection that lived so long starts the backoff anew."""
CHECK_S = 1.0
PONG_S_MAX = 45.0
MUTE_MAX = 5
VAIN_MAX = 2
"""So many connections in a row that brought nothing, or stayed silent: the next one goes to another endpoint."""
FORGET_S = 120.0
"""A connection that has delivered for so long makes up for those before it."""
OVERLAP_S_MAX = 10.0
"""A connection that is replaced as planned is kept for so long beside its successor."""
T = TypeVar("T")
log = structlog.get_logger()


class Surroundings(NamedTuple):
    """What the loop would otherwise reach for: time, chance, the socket, and whether to stop."""

    clock: Callable[[], int]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: random.Random
    connect: Connect
    stop: asyncio.Event

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond ``stop``."""
        await first([self.sleep(seconds), self.stop.wait()])

    async def heed(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do ``work``, but not beyond ``stop``: then it is cancelled, and there is no result."""
        task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
            return await task if task.done() else None
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)


async def first(waits: Sequence[Awaitable[Any]]) -> None:
    """Wait until one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def backoff_s(attempt: int, rng: random.Random, most_s: float = BACKOFF_S_MAX) -> float:
    """Seconds before attempt ``attempt`` (1 = the first retry): doubling, capped at ``most_s``, jittered."""
    return float(min(most_s, BACKOFF_S_FIRST * 2.0 ** min(attempt - 1, 16)) * rng.uniform(0.5, 1.0))


def alternates(exchange: Exchange, url: str) -> list[str]:
    """The other endpoints of a socket, with its own path."""
    return [
        other + url.removeprefix(known)
        for known, others in exchange.alternates.items()
        if url.startswith(known)
        for other in others
    ]


def cause_of(reason: str) -> str:
    """One of a few words for why a connection had to end."""
    for begins, word in (("half open", "half_open"), ("nothing came", "mute")):
        if reason.startswith(begins):
            return word
    return "silent" if reason.endswith("silent") else "closed"


def batches(topics: Sequence[str], limits: Limits) -> Iterator[list[str]]:
    """Topics as the exchange takes them in one request."""
    groups: dict[str, list[str]] = {}
    for topic in topics:
        groups.setdefault(limits.together(topic), []).append(topic)
    for group in groups.values():
        for start in range(0, len(group), limits.topics_per_request):
            yield group[start : start + limits.topics_per_request]


class Connection:
    """One socket's subscriptions, kept alive. ``topics``: name → the feed it fills and the silence it may keep."""

    def __init__(
        self, exchange: Exchange, setup: Setup, url: str, topics: dict[str, tuple[Feed, float]], sink: Sink,
        around: Surroundings, delay_s: float = 0.0, others: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._exchange, self._setup, self._topics = exchange, setup, topics
        self._urls = [url, *others]
        self._url = url
        self._vain, self._renewal = 0, ""
        self._sink, self._around, self._delay_s = sink, around, delay_s
        self._mute = 0
        self._rejections: list[SubscriptionRejected] = []
        self._wake = asyncio.Event()
        self._old: tuple[Link, float] | None = None
        self._dropped: list[str] = []
        self.latest = 0
        """Latest exchange time seen on any of its sockets, µs."""
        self.state: dict[str, Any] = {
            "url": url, "topics": len(topics), "connected": 0, "reconnects": 0, "causes": {}, "bad_frames": 0,
            "reason": "", "rejected": [], "silent": {}, "alarm": "",
        }  # fmt: skip

    async def run(self) -> None:
        """Connect and reconnect until told to stop."""
        attempt = 0
        await self._around.pause(self._delay_s)  # connections of one exchange do not open all at once
        while not self._around.stop.is_set():
            started = self._around.monotonic()
            try:
                reason, planned = await self._live()
            except (OSError, TimeoutError) as error:
                reason, planned, cause = f"{type(error).__name__}: {error}", False, "network"
                self._vain += 1
            else:
                cause = "planned" if planned else cause_of(reason)
            self._turn(reason)
            self.state.update(connected=0, reason=reason)
            if self._around.stop.is_set():
                break
            stable = self._around.monotonic() - started > STABLE_S
            attempt = 1 if stable else attempt + 1
            pause_s = 0.0 if planned and stable else backoff_s(attempt, self._around.rng)
            self.state["reconnects"] += 1
            self.state["causes"][cause] = self.state["causes"].get(cause, 0) + 1
            log.warning("reconnecting", url=self._url, reason=reason, attempt=attempt, pause_s=round(pause_s, 2))
            await self._around.pause(pause_s)
        self._retire(0.0)

    def _turn(self, reason: str) -> None:
        """Go to the next endpoint when this one was tried in vain; when all were, say so until something comes."""
        if self._vain and self._vain % VAIN_MAX == 0 and len(self._urls) > 1:
            self._urls.append(self._urls.pop(0))
            log.warning("other_endpoint", url=self._urls[0], instead_of=self._url, reason=reason)
            self._url = self.state["url"] = self._urls[0]
        if self._vain >= VAIN_MAX * len(self._urls):
            self.state["alarm"] = reason
            log.error("stream_dead", url=self._url, topics=len(self._topics), reason=reason, connections=self._vain)

    def renew(self, feed: Feed, reason: str) -> None:
        """Give the socket up if it is the one this feed comes over: it was proven to leave something out."""
        if any(its is feed for its, _ in self._topics.values()):
            self._renewal = reason
            self._wake.set()

    def drop(self, natives: Container[str]) -> None:
        """Give up the topics of these symbols, in the exchange's spelling."""
        self._dropped += [topic for topic, (feed, _) in self._topics.items() if feed.native in natives]
        for topic in self._dropped:
            self._topics.pop(topic, None)
        self._wake.set()

    async def _live(self) -> tuple[str, bool]:
        """One connection's life. Returns why it ended, and whether that was planned."""
        session = self._exchange.session(self._setup)
        limits = self._exchange.limits
        link = await self._around.connect(self._url, self._reader(session), limits.frame_bytes_max)
        keep = False
        try:
            self.state["connected"] = 1
            freshness = Freshness(self._topics, self._around.monotonic())
            await self._subscribe(link, session, list(self._topics))
            log.info("connected", url=self._url, topics=len(self._topics))
            reason, keep = await self._watch(link, session, freshness)
            self._vain += freshness.expects and not freshness.heard and not keep
        finally:
            if not keep:
                for feed, _ in self._topics.values():
                    feed.interrupt("disconnect")
            if keep:
                self._old = (link, self._around.monotonic() + OVERLAP_S_MAX)
            else:
                link.close()
        return reason, keep

    def _reader(self, session: Session) -> Callable[[bytes], None]:
        clock, parse, add = self._around.clock, session.parse, self._sink.add

        def on_frame(raw: bytes) -> None:
            received = clock()
            try:
                for event in parse(raw, received):
                    add(event)
            except FrameError as error:
                self.state["bad_frames"] += 1
                self._sink.dead(error.kind, self._setup.exchange, error.raw, error.reason, self._url)
            except SubscriptionRejected as rejection:
                self._rejections.append(rejection)
                self._wake.set()
            if session.replies:
                self._wake.set()

        return on_frame

    async def _subscribe(self, link: Link, session: Session, topics: list[str]) -> None:
        """Subscribe in requests the exchange accepts, no faster than it allows."""
        for batch in batches(topics, self._exchange.limits):
            if link.ended.done() or self._around.stop.is_set():
                return
            link.send(session.subscribe(batch))
            await self._around.pause(1.0 / self._exchange.limits.requests_per_s)

    async def _watch(self, link: Link, session: Session, freshness: Freshness) -> tuple[str, bool]:
        """Stand by until the connection ends or has to."""
        around, limits = self._around, self._exchange.limits
        opened = pinged = active = around.monotonic()
        activity = -1
        lifetime_s = limits.lifetime_s * around.rng.uniform(0.9, 1.0)  # so that restarts do not come in storms
        while not around.stop.is_set():
            await first([asyncio.shield(link.ended), around.sleep(CHECK_S), self._wake.wait(), around.stop.wait()])
            now = around.monotonic()
            if link.ended.done():
                return link.ended.result(), False
            await self._answer(link, session)
            self.latest = max(self.latest, session.latest)
            if link.activity != activity:
                activity, active = link.activity, now
            if now - pinged >= limits.ping_every_s:
                pinged = now
                link.send(limits.ping) if limits.ping else link.ping()
            if reason := self._overdue(now, opened, active, lifetime_s, session, freshness):
                return reason
            stale, why = freshness.check(now)
            self.state["silent"] = freshness.silent(now)
            if why := why or self._renewal:
                self._vain, self._renewal = self._vain + freshness.heard, ""
                return why, False
            if not stale and freshness.heard:
                self.state["alarm"] = ""
                self._vain = self._vain if now - opened < FORGET_S else 0
            broken = [topic for topic in session.broken if topic in self._topics]
            session.broken.clear()
            await self._again(link, session, [*stale, *(topic for topic in broken if topic not in stale)])
            self._retire(now)
        return "stopped", False

    def _overdue(
        self, now: float, opened: float, active: float, lifetime_s: float, session: Session, freshness: Freshness
    ) -> tuple[str, bool] | None:
        if session.ending:
            return session.ending, True
        if now - opened > lifetime_s:
            return "planned, before the exchange cuts it", True
        if now - active > PONG_S_MAX:
            return "half open: not even a pong", False
        if freshness.heard:
            self._mute = 0
        elif freshness.expects and now - opened > self._exchange.limits.first_s_max * 2**self._mute:
            self._mute = min(self._mute + 1, MUTE_MAX)  # a symbol may really be that thin: look less often
            log.error("nothing_came", url=self._url, topics=len(self._topics))
            return "nothing came after subscribing", False
        return None

    async def _answer(self, link: Link, session: Session) -> None:
        """Send what the exchange asked for; sort out refused subscriptions."""
        self._wake.clear()
        while session.replies:
            link.send(session.replies.popleft())
        dropped, self._dropped = self._dropped, []
        for batch in batches(dropped, self._exchange.limits):
            link.send(session.unsubscribe(batch))
        rejections, self._rejections = self._rejections, []
        for rejection in rejections:
            if len(rejection.topics) > 1:  # one of them is bad: asking one by one tells which
                for topic in rejection.topics:
                    await self._subscribe(link, session, [topic])
            elif rejection.topics[0] not in self.state["rejected"]:
                self.state["rejected"].append(rejection.topics[0])
                log.error("subscription_rejected", url=self._url, symbol=rejection.symbol, reason=rejection.reason)

    async def _again(self, link: Link, session: Session, topics: list[str]) -> None:
        if topics:
            log.warning("resubscribing", url=self._url, topics=topics[:10], count=len(topics))
            for topic in topics:
                self._topics[topic][0].interrupt("silence")
            for batch in batches(topics, self._exchange.limits):
                link.send(session.unsubscribe(batch))
                await self._around.pause(1.0 / self._exchange.limits.requests_per_s)
            await self._subscribe(link, session, topics)

    def _retire(self, now: float) -> None:
        """Close the predecessor once the overlap is over (``now`` 0: at once)."""
        if self._old is not None and (now == 0.0 or now > self._old[1]):
            self._old[0].close()
            self._old = None
