"""What the configuration asks of one exchange: shapes, symbols in order, and the sockets that bring them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from producers._exchange import Channel, Exchange, Options, Setup
from producers._feeds import Directory, Feed
from producers._rest import redirected
from schemas.settings import ExchangeSettings, Settings

ALL = "*"


def options(its: ExchangeSettings, settings: Settings, channels: Iterable[str]) -> Options:
    """Shapes as configured, for ``channels``."""
    poll = settings.poll
    return Options(
        book_depth=its.book_depth, book_every=int(its.book_every), funding_every=int(poll.funding),
        open_interest_every=int(poll.open_interest), intervals=tuple(settings.klines.intervals),
        klines_every=int(settings.klines.poll), channels=frozenset(channels),
    )  # fmt: skip


def ranked(directory: Directory, ranks: Mapping[str, float], followed: Sequence[str], most: int) -> list[str]:
    """All that trade, in the exchange's spelling, the largest volumes first, at most so many.

    Symbols already ``followed`` stay: a change of rank is no reason to break a series.
    """
    alive = [it for it in directory.instruments.values() if it.status == "trading"]
    alive.sort(key=lambda it: (-ranks.get(it.exchange_symbol, 0.0), it.symbol))
    existing = {it.exchange_symbol for it in alive}
    order = dict.fromkeys([*followed, *(it.exchange_symbol for it in alive)])
    return [native for native in order if native in existing][:most]


def sockets(
    declared: Exchange, channels: Mapping[str, Channel], setup: Setup, natives: Iterable[str], override: str
) -> Iterator[tuple[str, dict[str, tuple[Feed, float]]]]:  # fmt: skip
    """URL and topics of every socket for these symbols: the feed a topic fills, and the silence it may keep."""
    by_url: dict[str, dict[str, tuple[Feed, float]]] = {}
    wanted = list(natives)
    for word, channel in channels.items():
        for native in wanted if channel.topics else ():
            feed = setup.feeds.channel(word)[native]
            assert channel.topics is not None
            for url, name in channel.topics(native, setup.options):
                # A topic may serve several channels; the first of them watches over it.
                by_url.setdefault(redirected(url, override), {}).setdefault(name, (feed, channel.silence_s_max))
    size = declared.limits.topics_per_connection
    for url, topics in by_url.items():
        names = list(topics)
        for start in range(0, len(names), size):
            yield url, {name: topics[name] for name in names[start : start + size]}
