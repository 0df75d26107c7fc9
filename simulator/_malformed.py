"""Frames no exchange should send, made from one it did."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from simulator._venue import BINARY, Message

_NUMBER = re.compile(rb'"\d+(?:\.\d+)?"|(?<=:)\d+\.\d+')
_SYMBOL = re.compile(rb'"[A-Z0-9]{2,}[-_/]?[A-Z0-9]*"')


def _number(text: bytes) -> Callable[[Message, random.Random], Message]:
    return lambda good, _: Message(_NUMBER.sub(text, good.body, count=1))


def _always(body: bytes) -> Callable[[Message, random.Random], Message]:
    return lambda _, __: Message(body)


def _cut(good: Message, rng: random.Random) -> Message:
    return Message(good.body[: rng.randrange(1, len(good.body))])


def _noise(good: Message, rng: random.Random) -> Message:
    return Message(b"\xff\xfe" + rng.randbytes(len(good.body)), opcode=BINARY)


MALFORMED: Mapping[str, Callable[[Message, random.Random], Message]] = {
    "truncated": _cut,
    "binary": _noise,
    "empty": _always(b""),
    "html": _always(b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "scalar": _always(b"17"),
    "list": _always(b"[[],{},null]"),
    "deep": _always(b"[" * 50_000 + b"]" * 50_000),
    "digits": _number(b"1" * 5_000),
    "nan": _number(b'"NaN"'),
    "infinite": _number(b'"1e400"'),
    "negative": _number(b'"-1.5"'),
    "zero": _number(b'"0.00"'),
    "object": _number(b'{"surprise":[]}'),
    "symbol": lambda good, _: Message(_SYMBOL.sub(lambda _: b'"<script>.*>../\\u0000"', good.body)),
}
"""By variant: (the good message, rng) → the bad one."""
