"""The instrument registry: the exchange's list in a key-value bucket, a new version only when something changed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from math import inf

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from producers._exchange import UNREADABLE, Exchange
from producers._feeds import Directory
from producers._rest import Asking, RestError
from schemas.bucket import read
from schemas.instruments import Instrument, decode, encode
from schemas.names import BUCKET_INSTRUMENTS
from schemas.symbols import is_symbol

NEAR_MAX = 5
PAGES_MAX = 50
_UNAVAILABLE = (NatsError, NatsTimeoutError, OSError, TimeoutError)
log = structlog.get_logger()


class Registry:
    """Versions of an exchange's instruments, as the bucket holds them."""

    def __init__(self, nats: Client, exchange: str, clock: Callable[[], int]) -> None:
        self._nats, self._exchange, self._clock = nats, exchange, clock
        self._versions: dict[str, tuple[int, Instrument]] = {}
        self._bucket: KeyValue | None = None

    async def load(self) -> list[Instrument]:
        """The last versions; empty where the bucket cannot be read now."""
        try:
            self._bucket = await self._nats.jetstream().key_value(BUCKET_INSTRUMENTS)
            for entry in await read(self._nats, BUCKET_INSTRUMENTS, f"{self._exchange}.*"):
                if entry.value:
                    self._versions[entry.key] = (entry.revision, decode(entry.value))
        except _UNAVAILABLE as error:
            log.warning("registry_unavailable", exchange=self._exchange, error=f"{type(error).__name__}: {error}")
        except msgspec.MsgspecError as error:
            log.error("registry_unreadable", exchange=self._exchange, error=str(error))
        return [instrument for _, instrument in self._versions.values()]

    async def store(self, instruments: Sequence[Instrument]) -> int:
        """Write what changed; returns how many versions were written. Unreachable: nothing, to be tried later.

        What does not trade is written only where it once did.
        """
        if self._bucket is None:
            await self.load()
        if self._bucket is None:
            return 0
        written = 0
        try:
            for instrument in instruments:
                if instrument.status != "trading" and f"{self._exchange}.{instrument.symbol}" not in self._versions:
                    continue
                written += await self._store(self._bucket, instrument)
        except _UNAVAILABLE as error:
            log.warning("registry_unavailable", exchange=self._exchange, error=f"{type(error).__name__}: {error}")
        return written

    async def _store(self, bucket: KeyValue, instrument: Instrument) -> bool:
        key = f"{self._exchange}.{instrument.symbol}"
        revision, known = self._versions.get(key, (0, None))
        if known is not None:
            # The row size is pinned by whoever computes footprints; a new list does not move it.
            instrument = msgspec.structs.replace(instrument, row=known.row)
            if msgspec.structs.replace(known, valid_from=0) == msgspec.structs.replace(instrument, valid_from=0):
                return False
        instrument = msgspec.structs.replace(instrument, valid_from=self._clock())
        try:
            revision = await bucket.update(key, encode(instrument), last=revision)
        except KeyWrongLastSequenceError:  # another producer was first: its version is as good, the next round compares
            entry = await bucket.get(key)
            self._versions[key] = (entry.revision or 0, decode(entry.value or b""))
            return False
        self._versions[key] = (revision, instrument)
        return True


class Incomplete(RestError):
    """Some of an exchange's lists did not come; ``instruments`` are those of the others."""

    def __init__(self, error: RestError, instruments: list[Instrument]) -> None:
        super().__init__(error.url, error.status, error.reason)
        self.instruments = instruments


async def fetch(exchange: Exchange, exchange_id: str, rest: Asking) -> list[Instrument]:
    """The exchange's own list. Raises RestError, also where the answer is not understood; Incomplete for a part."""
    found: list[Instrument] = []
    failed: RestError | None = None
    waiting = list(exchange.rest.instruments)
    for _ in range(PAGES_MAX):
        if not waiting:
            break
        request = waiting.pop(0)
        try:
            body = await rest.get(request)
            found += exchange.instruments(body)
            more = exchange.rest.following(request, body)
        except RestError as error:
            failed = error
            continue
        except UNREADABLE as error:
            failed = RestError(request.url, 200, f"not an instrument list: {error}")
            continue
        waiting += [more] if more is not None else []
    if waiting:
        raise RestError(waiting[0].url, 200, f"an instrument list of more than {PAGES_MAX} pages")
    if not found:
        raise failed or RestError(exchange.rest.instruments[0].url, 200, "an empty instrument list")
    named = [_sound(it, exchange_id) for it in found if is_symbol(it.symbol) and _is_size(it.contract_size)]
    if unusable := [it.exchange_symbol for it in found if not _is_size(it.contract_size)]:
        log.warning("contract_without_size", exchange=exchange_id, instruments=unusable[:10], count=len(unusable))
    if failed is not None:
        raise Incomplete(failed, named)
    return named


def _sound(it: Instrument, exchange_id: str) -> Instrument:
    """The instrument of this exchange; a tick or step that is no size is an unknown one."""
    tick, step = (size if size is not None and _is_size(size) else None for size in (it.tick_size, it.quantity_step))
    return msgspec.structs.replace(it, exchange=exchange_id, tick_size=tick, quantity_step=step)


def _is_size(number: float) -> bool:
    return 0.0 < number < inf


async def volumes(exchange: Exchange, rest: Asking) -> dict[str, float]:
    """24 h quote volumes by exchange symbol, empty where the exchange tells none. Raises RestError."""
    request = exchange.rest.volumes
    if request is None:
        return {}
    body = await rest.get(request)
    try:
        return dict(exchange.volumes(body))
    except UNREADABLE as error:
        raise RestError(request.url, 200, f"not a list of volumes: {error}") from error


def trading(instruments: Sequence[Instrument]) -> tuple[list[Instrument], dict[str, list[str]]]:
    """One instrument a symbol, those that trade first; and the symbols that two of them claim."""
    best: dict[str, Instrument] = {}
    clashes: dict[str, list[str]] = {}
    for instrument in instruments:
        other = best.setdefault(instrument.symbol, instrument)
        if other is instrument:
            continue
        if other.status == "trading" and instrument.status == "trading":
            clashes.setdefault(instrument.symbol, [other.exchange_symbol]).append(instrument.exchange_symbol)
        elif instrument.status == "trading":
            best[instrument.symbol] = instrument
    return list(best.values()), clashes


def near(name: str, directory: Directory) -> list[str]:
    """Symbols somebody who wrote ``name`` may have meant."""
    return difflib.get_close_matches(name.upper(), directory.instruments, NEAR_MAX, 0.6)
