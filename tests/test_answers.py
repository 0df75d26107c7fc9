"""Bad answers over REST, made from those of the simulated exchanges: refused, or what they give is sound."""

from __future__ import annotations

import time
from math import inf

import aiohttp
import pytest

from producers._exchange import UNREADABLE, Options, Setup, directory, every
from producers._feeds import Feeds
from producers._registry import fetch, trading
from producers._rest import RestError, redirected
from schemas.events import decode_any
from schemas.events import encode as encode_event
from schemas.instruments import decode, encode
from simulator._market import Market
from simulator._run import serve
from tests.fuzzing import Mutator

EXCHANGES = every()
SEED, ANSWERS = 5, 400
"""Mutated answers to each request."""


class Broken:
    """Answers of a simulated exchange, each with something wrong."""

    def __init__(self, http, port: int, exchange: str) -> None:
        self._http, self._url = http, f"http://127.0.0.1:{port}/{exchange}"
        self._mutators: dict[tuple[str, bytes], Mutator] = {}

    async def get(self, request, *, share: float = 1.0) -> bytes:
        key = request.url, request.body
        if key not in self._mutators:
            method = "POST" if request.body else "GET"
            async with self._http.request(
                method, redirected(request.url, self._url), data=request.body or None
            ) as answer:
                if answer.status != 200:  # a page that only a broken answer speaks of
                    raise RestError(request.url, answer.status, "refused")
                self._mutators[key] = Mutator([await answer.read()], SEED)
        return self._mutators[key].frame()


@pytest.fixture
async def broken():
    async with serve(Market(5, 3, 20.0)) as (_, port), aiohttp.ClientSession() as http:
        yield lambda exchange: Broken(http, port, exchange)


@pytest.mark.parametrize("exchange", sorted(EXCHANGES))
async def test_a_broken_instrument_list_is_refused_or_yields_instruments_that_can_be_kept(exchange, broken) -> None:
    answers, refused = broken(exchange), 0
    for _ in range(ANSWERS):
        try:
            found = await fetch(EXCHANGES[exchange], exchange, answers)
        except RestError:
            refused += 1
            continue
        trading(found)
        for it in found:
            assert decode(encode(it)) == it
            sizes = it.contract_size, it.tick_size, it.quantity_step
            assert all(size is None or 0.0 < size < inf for size in sizes), it
    assert 0 < refused < ANSWERS, "not run: no answer was readable, or every one"


POLLED = [(name, word) for name, its in EXCHANGES.items() for word, channel in its.channels.items() if channel.poll]


@pytest.mark.parametrize(("exchange", "word"), POLLED)
async def test_a_broken_answer_to_a_poll_is_refused_or_yields_sound_events(exchange, word, broken) -> None:
    declared, answers, now = EXCHANGES[exchange], broken(exchange), time.time_ns() // 1000
    known = directory(declared, exchange)
    setup = Setup(exchange, Feeds(known), Options())
    poll = declared.channels[word].poll
    symbols = {"open_interest": "BTC-USDT-PERP", "klines": "BTC-USD"}
    native = next(filter(None, (known.native(symbols.get(word, "")), known.native("BTC-USD-PERP"))))
    (request, *_) = poll.requests([native], setup, now)
    for _ in range(ANSWERS):
        body = await answers.get(request)
        try:
            events = list(poll.parse(body, request, now, setup))
        except UNREADABLE:
            continue
        assert all(decode_any(encode_event(event)) == event for event in events), body
