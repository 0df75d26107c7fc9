"""Bad frames made from good ones: what a broken exchange, proxy or network may send."""

from __future__ import annotations

import re

from hypothesis import strategies as st

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
_CHARACTERS = [bytes([character]) for character in b"0123456789.-e"]


@st.composite
def mutated(draw: st.DrawFn, frames: list[bytes]) -> bytes:
    """One of ``frames`` with values replaced, swapped or cut out, bytes changed, or the tail lost."""
    raw = draw(st.sampled_from(frames))
    for _ in range(draw(st.integers(1, 3))):
        spans = [match.span() for match in VALUE.finditer(raw)]
        how = draw(st.integers(0, 4)) if spans else 4
        if how <= 1:
            start, end = draw(st.sampled_from(spans))
            raw = raw[:start] + draw(st.sampled_from(WORDS)) + raw[end:]
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
