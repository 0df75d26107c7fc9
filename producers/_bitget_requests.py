"""Bitget's subscriptions: topics are ``type|channel|instrument``; liquidations are asked for by the whole type."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from producers._bitget_wire import Head

_FORCED = "liquidation"


class Requests:
    """One connection's subscriptions."""

    def __init__(self) -> None:
        self._forced: dict[str, set[str]] = {}

    def subscribe(self, topics: Sequence[str]) -> bytes:
        """The request for these topics."""
        for market, channel, native in map(_parts, topics):
            if channel == _FORCED:
                self._forced.setdefault(market, set()).add(native)
        return _ask("subscribe", topics)

    def unsubscribe(self, topics: Sequence[str]) -> bytes:
        """Drops what no other topic needs; where nothing is left to drop, the request is a ping."""
        for market, channel, native in map(_parts, topics):
            if channel == _FORCED:
                self._forced.setdefault(market, set()).discard(native)
        gone = [t for t in topics if _parts(t)[1] != _FORCED or not self._forced[_parts(t)[0]]]
        return _ask("unsubscribe", gone) if gone else b"ping"

    def wants(self, market: str, native: str) -> bool:
        """Whether liquidations of an instrument were asked for; every one's, where nothing was."""
        natives = self._forced.get(market)
        return natives is None or native in natives

    def refused(self, head: Head) -> tuple[str, str] | None:
        """The topic and instrument an error is about; None where it names none."""
        arg = head.arg
        if arg is None or not (arg.channel or arg.topic):
            return None
        market = arg.instType.upper()
        native = arg.instId or arg.symbol or min(self._forced.get(market, ()), default="")
        return f"{market}|{arg.channel or arg.topic}|{native}", native


def _parts(topic: str) -> tuple[str, str, str]:
    market, channel, native = topic.split("|")
    return market, channel, native


def _ask(op: str, topics: Sequence[str]) -> bytes:
    args: list[dict[str, str]] = []
    for market, channel, native in map(_parts, topics):
        if channel == _FORCED:
            arg = {"instType": market.lower(), "topic": channel}
        else:
            arg = {"instType": market, "channel": channel, "instId": native}
        if arg not in args:
            args.append(arg)
    return msgspec.json.encode({"op": op, "args": args})
