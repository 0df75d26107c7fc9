"""OKX's subscriptions: what our topics are called there, and which requests they make."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

ASKED_MAX = 100


class Requests:
    """One connection's subscriptions. Topics of several symbols may be one of OKX's: an index, a whole market."""

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, str], set[str]] = {}
        self._asked: dict[str, tuple[str, ...]] = {}
        self._count = 0

    def subscribe(self, topics: Sequence[str]) -> bytes:
        """The request for these topics."""
        for topic in topics:
            self._wanted.setdefault(target(topic), set()).add(topic)
        return self._ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        """Drops what no other topic needs; where nothing is left to drop, the request is a ping."""
        for topic in topics:
            self._wanted.get(target(topic), set()).discard(topic)
        idle = [topic for topic in topics if not self._wanted.get(target(topic))]
        return self._ask("unsubscribe", idle) if idle else b"ping"

    def wants(self, channel: str, market: str, native: str) -> bool:
        """Whether a symbol of a whole market's subscription was asked for; every one is, where nothing was."""
        topics = self._wanted.get((channel, market))
        return topics is None or f"{channel}:{native}" in topics

    def refused(self, channel: str, of: str, request: str) -> tuple[str, ...]:
        """The topics a refusal is about: one where it names its subscription, else all of its request."""
        named = sorted(self._wanted.get((channel, of), ()))
        return (named[0],) if named else self._asked.pop(request, ())

    def _ask(self, op: str, topics: Sequence[str]) -> bytes:
        self._count += 1
        self._asked[str(self._count)] = tuple(topics)
        self._asked.pop(str(self._count - ASKED_MAX), None)
        targets = dict.fromkeys(map(target, topics))
        args = [{"channel": c, "instType" if c == "liquidation-orders" else "instId": of} for c, of in targets]
        return msgspec.json.encode({"id": str(self._count), "op": op, "args": args})


def target(topic: str) -> tuple[str, str]:
    """Channel and what it is asked for: an instrument, its index, or the market it belongs to."""
    channel, _, native = topic.partition(":")
    if channel == "index-tickers":
        base, _, quote = native.partition("-")
        return channel, f"{base}-{quote.partition('-')[0].partition('_')[0]}"
    if channel == "liquidation-orders":
        return channel, "SWAP" if native.endswith("-SWAP") else "FUTURES"
    return channel, native
