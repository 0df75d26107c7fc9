"""Which symbols an engine computes when several share the work."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

COUNT_MAX = 256


class Part(NamedTuple):
    """Part ``number`` of so many, from 1."""

    number: int
    of: int

    def owns(self, exchange: str, symbol: str) -> bool:
        """Whether a symbol is this part's: by hash, so that every symbol has one owner whatever else is known."""
        if self.of == 1:
            return True
        digest = blake2b(f"{exchange}:{symbol}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.of == self.number - 1

    @property
    def suffix(self) -> str:
        """What tells its watermark and its snapshot from those of others: ``-2of4``; nothing for the whole."""
        return f"-{self.number}of{self.of}" if self.of > 1 else ""


WHOLE = Part(1, 1)


def parse(text: str) -> Part:
    """``2/4``. Raises ValueError."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count) <= COUNT_MAX):
        raise ValueError(f"{text!r} is not a part such as 2/4")
    return Part(int(number), int(count))
