"""The instrument registry as the engine uses it: read whole, and row sizes written back by compare-and-set."""

from __future__ import annotations

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js.errors import Error as JetStreamError
from nats.js.errors import KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from schemas import instruments
from schemas.bucket import read
from schemas.instruments import Instrument
from schemas.names import BUCKET_INSTRUMENTS
from signals._grid import Grids

_log = structlog.get_logger()
_AWAY = (nats.errors.Error, JetStreamError, OSError, TimeoutError)
_TRIES = 5
_ANSWER_S_MAX = 3.0


class Registry:
    """Keeps ``grids`` informed. ``pins`` are written when ``write`` is called."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self.pins: list[Instrument] = []
        self.bad = 0
        """Entries that are no instrument."""

    async def _bucket(self) -> KeyValue:
        return await self._nats.jetstream(timeout=_ANSWER_S_MAX).key_value(BUCKET_INSTRUMENTS)

    async def read(self, grids: Grids) -> bool:
        """Every version of every instrument, oldest first. False when the registry could not be read."""
        versions: list[Instrument] = []
        try:
            for entry in await read(self._nats, BUCKET_INSTRUMENTS, history=True, timeout_s=_ANSWER_S_MAX):
                self._decode(entry.value, versions)
        except _AWAY as error:
            _log.info("registry_away", reason=str(error) or type(error).__name__)
            return False
        grids.learn(versions)
        return True

    def _decode(self, value: bytes, versions: list[Instrument]) -> None:
        if not value:
            return
        try:
            versions.append(instruments.decode(value))
        except msgspec.DecodeError:
            self.bad += 1

    async def write(self) -> None:
        """Write the pinned rows; what fails stays for the next time."""
        pins, self.pins = self.pins, []
        for n, version in enumerate(pins):
            try:
                await self._write(version)
            except _AWAY as error:
                _log.warning("row_not_pinned", symbol=version.symbol, reason=str(error) or type(error).__name__)
                self.pins = pins[n:] + self.pins
                return

    async def _write(self, version: Instrument) -> None:
        """The registry's newest version with this row, unless one is pinned for that day already."""
        bucket = await self._bucket()
        name = f"{version.exchange}.{version.symbol}"
        for _ in range(_TRIES):
            entry = await bucket.get(name)
            latest = instruments.decode(entry.value or b"")
            if latest.row is not None and latest.valid_from == version.valid_from:
                return
            try:
                body = instruments.encode(msgspec.structs.replace(version, status=latest.status))
                await bucket.update(name, body, last=entry.revision)
                _log.info("row_pinned", symbol=name, row=version.row, valid_from=version.valid_from)
                return
            except KeyWrongLastSequenceError:
                continue
        _log.warning("row_not_pinned", symbol=version.symbol, reason="others kept writing")
