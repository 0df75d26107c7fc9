"""``asyncio.wait_for`` that loses no cancellation, for all that runs in a process of ours.

Python 3.11's returns its result when it is cancelled in the moment in which what it waits for is done, so the
cancellation is lost (https://github.com/python/cpython/issues/86296). redis-py and nats-py wait with it on every
command and request: an endless loop around them would outlive its end, and with it the process. Python 3.12's passes
the cancellation on; this is its logic. It also starts no task for each wait.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def wait_for(awaited: Awaitable[T], timeout: float | None) -> T:
    """What ``awaited`` gives within ``timeout`` seconds (None: whenever). Raises TimeoutError when it is cancelled."""
    if timeout is not None and timeout <= 0:
        future = asyncio.ensure_future(awaited)
        if not future.done():
            future.cancel()
            await asyncio.wait({future})
        try:
            return future.result()
        except asyncio.CancelledError as error:
            raise TimeoutError from error
    async with asyncio.timeout(timeout):
        return await awaited


def lose_no_cancellation() -> None:
    """Let everybody in this process wait so. To be called before anything runs; nothing to do from Python 3.12 on."""
    if sys.version_info < (3, 12):
        asyncio.wait_for = asyncio.tasks.wait_for = wait_for  # type: ignore[assignment]
