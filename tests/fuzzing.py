"""Bad frames made from good ones: what a broken exchange, proxy or network may send. One seed, the same frames."""

from __future__ import annotations

import gzip
import random
import re
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from producers._exchange import FrameError, Session, SubscriptionRejected
from schemas.events import Event

VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
WORDS = [
    *b"""null true false {} [] [[]] [null] {"a":[1]} {"":""} [["1","1"]] [0,0,0,0,0,0] pong
    "" "@" "-" "/" "....." "x|y|z" "A" "b" "buy" "SELL" "update" "snapshot" "BTC" "BTC-USD" "btc-usdt" "A-B-C-D-E"
    "<script>.*>" "\\ud800" "\\u0000"
    0 -0 -0.0 -1 1.5 007 1e308 1e400 -1e400 5e-324 NaN Infinity 1735689600 1767225600000 1735689600000000000
    9223372036854775807 9223372036854775808 18446744073709551616 -9223372036854775809
    "0" "-0" "-0.5" "+1" "007" "1_000" "1,5" "0x10" "NaN" "inf" "-Infinity" "1e400" "1e-400" "9223372036854775808"
    "2026-01-01T00:00:00.000000000Z" "2026-01-01" "1970-01-01T00:00:00Z" "0001-01-01T00:00:00Z"
    "9999-12-31T23:59:59.999999Z" "2026-02-30T25:61:61Z" """.split(),
    b'" 1 "', b'"\xff\xfe"', b'"\xed\xa0\x80"', '"\u0661\u0662"'.encode(), b"1" * 400, b'"' + b"9" * 400 + b'"',
    b"0.1" + b"0" * 5_000, b'"' + b"A" * 10_000 + b'"', b"[" * 2_000,
]  # fmt: skip
NO_TEXT = [*b'\xff \xc0\x80 \xed\xa0\x80 \xf5\x80\x80\x80 \xe2\x82 \0 \x01 \\ \\u00 " \xef\xbb\xbf'.split()]
"""What may stand in no text, or ends it."""
_KEY = re.compile(rb'("(?:[^"\\]|\\.){1,40}"):')
Span = tuple[int, int]


class Mutator:
    """``frame()`` is the next bad frame of a seed.

    ``foreign`` are frames of other exchanges, whose pieces get in too.
    """

    def __init__(self, frames: list[bytes], seed: int, foreign: list[bytes] = []) -> None:  # noqa: B006 - only read
        self._rng = random.Random(seed)
        self._frames = [(raw, [match.span() for match in VALUE.finditer(raw)]) for raw in frames]
        self._foreign = foreign or frames
        self._keys = sorted({key for raw in frames for key in _KEY.findall(raw)})
        self._ways = [self._values] * 5 + [self._tree] * 4 + [self._bytes] * 2 + [self._whole]

    def good(self) -> bytes:
        """One of the frames as it came."""
        return self._rng.choice(self._frames)[0]

    def frame(self) -> bytes:
        """One of the frames: its values, its structure or its bytes changed, or all of it something else."""
        raw, spans = self._rng.choice(self._frames)
        return self._rng.choice(self._ways)(raw, spans)

    def _values(self, raw: bytes, spans: list[Span]) -> bytes:
        """Up to three values changed where they stand."""
        rng = self._rng
        for start, end in sorted(rng.sample(spans, min(len(spans), rng.randint(1, 3))), reverse=True):
            raw = raw[:start] + self._value(raw, start, end, spans) + raw[end:]
        return raw

    def _value(self, raw: bytes, start: int, end: int, spans: list[Span]) -> bytes:
        how = self._rng.randrange(7)
        if how == 0:
            return b""
        if how == 1:
            first, last = self._rng.choice(spans)
            return raw[first:last]
        if how == 2:
            other, its = self._rng.choice(self._frames)
            first, last = self._rng.choice(its) if its else (0, len(other))
            return other[first:last]
        if how == 3:
            return self._word()
        if how == 4:  # a number for its text, a text for its number
            old = raw[start:end]
            return old[1:-1] if old.startswith(b'"') else b'"' + old + b'"'
        place = self._rng.randrange(start, end)  # one character, so that most frames stay readable and lie
        return (
            raw[start:place]
            + self._rng.choice(b"0123456789.-eE" + raw[place : place + 1]).to_bytes()
            + raw[place + 1 : end]
        )

    def _word(self) -> bytes:
        """A value no exchange should send, or text about as long as a number may be."""
        if self._rng.random() < 0.03:
            depth = self._rng.choice((100, 1_000, 20_000))
            opening, closing = self._rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
            return opening * depth + b"1" + closing * depth
        return self._rng.choice(WORDS)

    def _tree(self, raw: bytes, spans: list[Span]) -> bytes:
        """Keys taken away, doubled or renamed, values of another type, lists emptied or grown; readable JSON mostly."""
        try:
            tree = msgspec.json.decode(raw)
        except msgspec.MsgspecError:  # a bare word
            return self._bytes(raw, spans)
        places = _places(tree)
        if not places:
            return self._bytes(raw, spans)
        rng = self._rng
        for _ in range(rng.randint(1, 2)):
            within, at = rng.choice(places)
            if at < len(within) if isinstance(within, list) else at in within:
                self._change(within, at, rng.choice(places))
        changed = msgspec.json.encode(tree)
        if rng.random() < 0.15 and self._keys:  # a key twice, or one it should not have
            opened = [place.end() for place in re.finditer(rb"\{", changed)]
            place = rng.choice(opened) if opened else 0
            after = b"" if changed[place : place + 1] == b"}" else b","
            changed = changed[:place] + rng.choice(self._keys) + b":" + self._word() + after + changed[place:]
        return changed

    def _change(self, within: Any, at: Any, other: tuple[Any, Any]) -> None:
        rng, how = self._rng, self._rng.randrange(7)
        if how == 0:
            del within[at]
        elif how == 1:  # as bytes: a list within itself could not be written
            whole, its = other
            if not isinstance(whole, list) or its < len(whole):
                within[at] = msgspec.Raw(msgspec.json.encode(whole.get(its) if isinstance(whole, dict) else whole[its]))
        elif how == 2 and isinstance(within, dict):
            within[rng.choice(self._keys)[1:-1].decode("utf-8", "replace")] = within.pop(at)
        elif how == 3 and isinstance(within[at], list):
            within[at] = within[at] * rng.choice((0, 2, 50)) if len(within[at]) < 50 else within[at][::-1]
        elif how == 4:
            within[at] = [within[at]] if rng.random() < 0.5 else {"a": within[at]}
        elif how == 5 and isinstance(within[at], str | int | float):
            within[at] = float(within[at]) if _is_number(within[at]) else str(within[at])
        else:
            within[at] = msgspec.Raw(self._word())

    def _bytes(self, raw: bytes, spans: list[Span]) -> bytes:
        """Bytes flipped, cut out, put in, or the tail lost."""
        rng = self._rng
        place = rng.randrange(len(raw) + 1)
        how = rng.randrange(6)
        if how == 0:
            return raw[:place]
        if how == 1:
            return raw[:place] + rng.randbytes(rng.randint(0, 3)) + raw[place + 1 :]
        if how == 2:
            return raw[:place] + raw[min(len(raw), place + rng.randint(1, 40)) :]
        if how == 3:
            return raw[:place] + rng.choice(NO_TEXT) + raw[place:]
        if how == 4 and place < len(raw):
            return raw[:place] + (raw[place] ^ 1 << rng.randrange(8)).to_bytes() + raw[place + 1 :]
        other = rng.choice(self._frames)[0]
        return raw[:place] + other[rng.randrange(len(other) + 1) :]

    def _whole(self, raw: bytes, spans: list[Span]) -> bytes:
        """Compressed, in another encoding, two in one, another exchange's, or none at all."""
        how = self._rng.randrange(10)
        if how < 3:
            return (zlib.compress(raw), gzip.compress(raw, mtime=0), zlib.compress(raw, wbits=-15))[how]
        if how < 5:
            text = raw.decode("utf-8", "replace")
            return text.encode("utf-16") if how == 3 else b"\xef\xbb\xbf" + raw
        if how == 5:
            return raw + self._rng.choice((b"", b"\n")) + self._rng.choice(self._frames)[0]
        if how == 6:
            return b"[" + raw + b"]"
        if how == 7:
            return raw.replace(b" ", b"").replace(b":", b" :\t").replace(b",", b"\r\n , ")  # means the same
        if how == 8:
            return self._rng.choice((b"", b" ", b"\0", b"null", b"[]", b"{}", b'""', b"1", b"<html>busy</html>"))
        return self._rng.choice(self._foreign)


def endured(it: Session, mutator: Mutator, now: int) -> Iterator[tuple[bytes, list[Event]]]:
    """Nine bad frames and three good ones with their events; what is refused is refused as declared, with its bytes."""
    for number in range(12):
        raw = mutator.frame() if number % 4 else mutator.good()
        events, reason = _attempt(it, raw, now)
        assert not reason.startswith(("parser bug", "not")), (reason, raw)
        yield raw, events


def _attempt(it: Session, raw: bytes, now: int) -> tuple[list[Event], str]:
    try:
        return list(it.parse(raw, now)), ""
    except FrameError as error:
        return [], error.reason if error.raw == raw else "not with its bytes"
    except SubscriptionRejected as rejection:
        return [], "refused" if rejection.topics else "not said what is refused"


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys or positions."""
    found, waiting = [], [tree]
    while waiting:
        it = waiting.pop()
        keys = it if isinstance(it, dict) else range(len(it)) if isinstance(it, list) else ()
        for key in keys:
            found.append((it, key))
            waiting.append(it[key])
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", value) is not None
