"""``/api/book``: snapshots of the top of the book; the newest where no span is named."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.events import Book, Level
from web._desk import Desk, window
from web._endpoint import Endpoint, SpanOfSymbol
from web._rows import page


class Ask(SpanOfSymbol, kw_only=True):
    """Which."""

    limit: Annotated[int, Meta(ge=1, le=1000, description="Most snapshots of a page")] = 1


class Answer(msgspec.Struct):
    """Ascending by time; a side is ``[[price, quantity], …]``, best first."""

    books: list[Book]
    next: str | None


_side = msgspec.json.Decoder(list[list[float]]).decode


def _levels(text: str | None) -> list[Level]:
    """A side as QuestDB writes an array of prices and one of quantities."""
    prices, quantities = _side(text) if text and text != "[]" else ([], [])
    return list(zip(prices, quantities, strict=True))


def _book(
    exchange: str, symbol: str, timestamp: int, received: int, sequence: int, bids: str | None, asks: str | None
) -> Book:
    return Book(exchange, symbol, timestamp, received, sequence, _levels(bids), _levels(asks))


async def handle(desk: Desk, ask: Ask) -> Answer:
    """From the table ``books``."""
    of = await desk.instruments.of(ask.exchange, ask.symbol)
    return Answer(*await page(desk, "books", of, window(ask), ask.limit, _book))


ENDPOINTS = (Endpoint("/api/book", "Order book snapshots", Ask, Answer, handle),)
