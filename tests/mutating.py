"""Bad frames made from good ones: what a broken exchange, proxy or network may send."""

from __future__ import annotations

import re

from hypothesis import strategies as st

_VALUE = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
_WORDS = [
    b"null", b"true", b'""', b'"NaN"', b'"1e400"', b"-1", b"0", b'"0"', b'"-0.5"', b"1" * 400, b'"' + b"9" * 400 + b'"',
    b"{}", b"[]", b"[[]]", b'{"a":[1]}', b'"\\ud800"', b'"<script>.*>"', b"1e308", b"1767225600000", b'"BTC"', b"pong",
    b'"2026-01-01T00:00:00.000000000Z"', b'"x|y|z"', b'"....."', b'"A"', b'"update"', b'"snapshot"', b"[" * 2_000,
]  # fmt: skip


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
