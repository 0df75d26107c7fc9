"""What Redis holds, as bytes: the values are JSON already and mostly pass through untouched."""

from __future__ import annotations

import re
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from web._errors import ApiError

_SEQUENCE = re.compile(rb'"sequence":(\d+)')
_TIMESTAMP = re.compile(rb'"timestamp":(\d+)')


def sequence_of(value: bytes) -> int:
    """The sequence of a value; 0 where it names none."""
    found = _SEQUENCE.findall(value)
    return int(found[-1]) if found else 0


def timestamp_of(candle: bytes) -> int:
    """The open time of a candle."""
    found = _TIMESTAMP.search(candle)
    return int(found[1]) if found else 0


class Cache:
    """Reads of Redis; one that is away is an ApiError 503."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def value(self, key: str) -> bytes | None:
        """A string."""
        found: bytes | None = await self._ask(self.redis.get(key))
        return found

    async def newest(self, key: str, begin: int, end: int, count: int) -> list[bytes]:
        """Members of a sorted set with a score in [begin, end), ascending: the ``count`` newest."""
        found = await self._ask(self.redis.zrange(key, f"({end}", begin, desc=True, byscore=True, offset=0, num=count))
        return list(reversed(found))

    async def oldest(self, key: str, begin: int, end: int, count: int) -> list[bytes]:
        """Members of a sorted set with a score in [begin, end), ascending: the ``count`` oldest."""
        found: list[bytes] = await self._ask(
            self.redis.zrange(key, begin, f"({end}", byscore=True, offset=0, num=count)
        )
        return found

    async def keys(self, pattern: str, most: int) -> list[str]:
        """Names of keys, at most ``most``."""
        found: list[str] = []
        try:
            async for key in self.redis.scan_iter(pattern, count=1000):
                found.append(key.decode())
                if len(found) >= most:
                    break
        except (RedisError, OSError) as error:
            raise _away() from error
        return found

    async def _ask(self, asked: Any) -> Any:
        try:
            return await asked
        except (RedisError, OSError) as error:
            raise _away() from error


def _away() -> ApiError:
    return ApiError(503, "cache_away", "Redis does not answer")
