"""Bad frames made from good ones: what a broken exchange, proxy or network may send."""

from __future__ import annotations

import random
import re

from hypothesis import strategies as st

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
_WORDS = [
    b"null", b"true", b'""', b'"NaN"', b'"1e400"', b"-1", b"0", b'"0"', b'"-0.5"', b"1" * 400, b'"' + b"9" * 400 + b'"',
    b"{}", b"[]", b"[[]]", b'{"a":[1]}', b'"\\ud800"', b'"<script>.*>"', b"1e308", b"1767225600000", b'"BTC"', b"pong",
    b'"2026-01-01T00:00:00.000000000Z"', b'"x|y|z"', b'"....."', b'"A"', b'"update"', b'"snapshot"', b"[" * 2_000,
]  # fmt: skip
_CHARACTERS = [bytes([character]) for character in b"0123456789.-e"]


@st.composite
def mutated(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """One of ``frames`` with values replaced, swapped or cut out, bytes changed, or the tail lost."""
    raw = draw(st.sampled_from(frames))
    for _ in range(draw(st.integers(1, 3))):
        spans = [match.span() for match in _VALUE.finditer(raw)]
        how = draw(st.integers(0, 4)) if spans else 4
        if how <= 1:
            start, end = draw(st.sampled_from(spans))
            raw = raw[:start] + draw(st.sampled_from(_WORDS)) + raw[end:]
        elif how == 2:
            start, end = draw(st.sampled_from(spans))
            first, last = draw(st.sampled_from(spans))
            raw = raw[:start] + raw[first:last] + raw[end:]
        elif how == 3:
            start, end = draw(st.sampled_from(spans))
            raw = raw[:start] + raw[end:]
        else:
            place = draw(st.integers(0, len(raw)))
            raw = draw(st.sampled_from([raw[:place], raw[:place] + draw(st.binary(max_size=3)) + raw[place + 1 :]]))
    return raw


class Mutator:
    """The same without hypothesis, for millions: ``frame()`` is the next bad frame of a seed."""

    def __init__(self, frames: list[bytes], seed: int) -> None:
        self._rng = random.Random(seed)
        self._frames = [(raw, [match.span() for match in _VALUE.finditer(raw)]) for raw in frames]

    def good(self) -> bytes:
        """One of the frames as it came."""
        return self._rng.choice(self._frames)[0]

    def frame(self) -> bytes:
        """One of the frames with up to three values changed, or bytes changed, or the tail lost."""
        rng = self._rng
        raw, spans = rng.choice(self._frames)
        if not spans or rng.random() < 0.2:
            return self._bytes(raw)
        for start, end in sorted(rng.sample(spans, min(len(spans), rng.randint(1, 3))), reverse=True):
            raw = raw[:start] + self._value(raw, start, end, spans) + raw[end:]
        return raw

    def _value(self, raw: bytes, start: int, end: int, spans: list[tuple[int, int]]) -> bytes:
        how = self._rng.randrange(6)
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
            return self._rng.choice(_WORDS)
        place = self._rng.randrange(start, end)  # one character, so that most frames stay readable and lie
        return (
            raw[start:place]
            + self._rng.choice(b"0123456789.-eE" + raw[place : place + 1]).to_bytes()
            + raw[place + 1 : end]
        )

    def _bytes(self, raw: bytes) -> bytes:
        rng = self._rng
        place = rng.randrange(len(raw) + 1)
        how = rng.randrange(4)
        if how == 0:
            return raw[:place]
        if how == 1:
            return raw[:place] + rng.randbytes(rng.randint(0, 3)) + raw[place + 1 :]
        if how == 2:
            end = min(len(raw), place + rng.randint(1, 40))
            return raw[:place] + raw[end:]
        return raw + rng.choice(self._frames)[0]
