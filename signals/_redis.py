"""Writes keys to Redis: whatever changed, its notices and the watermark in one transaction."""

from __future__ import annotations

import asyncio
import math
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from schemas.names import prefixed_key

_log = structlog.get_logger()
_TIMEOUT_S = 10.0
_AT_ONCE = 32


class Value(NamedTuple):
    """A key's new text, and the stream sequence it is of."""

    key: bytes
    text: bytes
    sequence: int


class Member(NamedTuple):
    """A closed candle for a sorted set; it takes the place of the member with the same score."""

    key: bytes
    score: int
    text: bytes
    sequence: int


class Watermark(NamedTuple):
    """How far the state reaches: the last stream sequence in it, and when that stream was made."""

    sequence: int
    created: str


def command(*words: bytes) -> bytes:
    """One command in the Redis protocol."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Writer:
    """One connection to Redis; every method returns rather than raises while Redis is away, and says so.

    Every key begins with the prefix of a replay where ``redis`` is a view for one (``_prefixed.py``).
    """

    def __init__(self, redis: Redis, watermark_key: str, kept: int) -> None:
        self._redis = redis
        self._prefix = prefixed_key(getattr(redis, "key_prefix", ""), "").encode()
        self._key = self._prefix + watermark_key.encode()
        self._kept = kept
        self._connection: AbstractConnection | None = None
        self.error = ""
        """Why the last attempt failed; empty after a good one."""

    async def watermark(self) -> Watermark | None:
        """The watermark Redis holds; sequence -1 where it holds none. None while Redis is away."""
        answers = await self._talk([command(b"HMGET", self._key, b"sequence", b"created")])
        if answers is None:
            return None
        sequence, created = answers[0]
        if sequence is None or created is None or not sequence.isdigit():
            return Watermark(-1, "")
        return Watermark(int(sequence), created.decode())

    async def marks(self, fields: list[str]) -> list[bytes | None] | None:
        """Fields of the watermark's hash. None while Redis is away."""
        answers = await self._talk([command(b"HMGET", self._key, *(field.encode() for field in fields))])
        return None if answers is None else answers[0]

    async def write(
        self, values: list[Value], members: list[Member], watermark: Watermark | None, emptied: list[bytes],
        others: dict[str, int] | None = None,
    ) -> bool:  # fmt: skip
        """All of it or nothing; ``emptied`` sorted sets are deleted first. False while Redis is away.

        ``others`` are further fields of the watermark: sequences of a second and third stream.
        """
        if self._prefix:
            values = [value._replace(key=self._prefix + value.key) for value in values]
            members = [member._replace(key=self._prefix + member.key) for member in members]
            emptied = [self._prefix + key for key in emptied]
        commands = [command(b"MULTI")]
        if emptied:
            commands.append(command(b"DEL", *emptied))
        for at in range(0, len(values), _AT_ONCE):
            some = values[at : at + _AT_ONCE]
            commands.append(command(b"MSET", *[word for value in some for word in (value.key, value.text)]))
        commands += [command(b"PUBLISH", value.key, b"%d" % value.sequence) for value in values]
        gone = set(emptied)
        for key, score, text, _ in members:
            if key not in gone:
                commands.append(command(b"ZREMRANGEBYSCORE", key, b"%d" % score, b"%d" % score))
            commands.append(command(b"ZADD", key, b"%d" % score, text))
        newest = {member.key: member.sequence for member in members}
        for key, sequence in newest.items():
            commands.append(command(b"ZREMRANGEBYRANK", key, b"0", b"%d" % -(self._kept + 1)))
            commands.append(command(b"PUBLISH", key, b"%d" % sequence))
        if watermark is not None:
            sequence_text = b"%d" % watermark.sequence
            fields = [word for name, at in (others or {}).items() for word in (name.encode(), b"%d" % at)]
            commands.append(
                command(b"HSET", self._key, b"sequence", sequence_text, b"created", watermark.created.encode(), *fields)
            )
        commands.append(command(b"EXEC"))
        return await self._talk(commands) is not None

    async def alive(self, values: list[tuple[bytes, bytes]], expire_ms: int) -> bool:
        """Set keys that vanish by themselves."""
        if not values:
            return True
        expire = b"PX", b"%d" % expire_ms
        return await self._talk([command(b"SET", self._prefix + k, v, *expire) for k, v in values]) is not None

    async def close(self) -> None:
        """Let the connection go."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._redis.connection_pool.release(connection)

    async def _talk(self, commands: list[bytes]) -> list[list[bytes | None]] | None:
        """Send commands, read as many answers. None when Redis is away or refused one of them."""
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._exchange(commands)
        except (RedisError, OSError, TimeoutError) as error:
            problem = str(error) or type(error).__name__
            if problem != self.error:
                _log.warning("redis_away", reason=problem)
            self.error = problem
            await self.close()
            return None

    async def _exchange(self, commands: list[bytes]) -> list[list[bytes | None]]:
        if self._connection is None:
            self._connection = await self._redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's own
        connection = self._connection
        for at in range(0, len(commands), _AT_ONCE):
            # In pieces, each on its way before the next: a flush of megabytes is not held three times over.
            await connection.send_packed_command(commands[at : at + _AT_ONCE], check_health=False)
        # Disconnected by the caller when this raises, so unread answers can never meet a later command.
        answers = [await connection.read_response(disable_decoding=True, timeout=math.inf) for _ in commands]
        for answer in answers[-1] if isinstance(answers[-1], list) else ():
            if isinstance(answer, RedisError):
                raise answer
        if self.error:
            _log.info("redis_back")
        self.error = ""
        return answers
