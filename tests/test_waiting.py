"""A cancellation is never lost, whatever else happens in the same moment."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from flowtape.waiting import wait_for


@pytest.mark.parametrize("turns", range(6))
async def test_a_loop_that_is_cancelled_in_the_moment_its_wait_is_over_ends(turns: int) -> None:
    wake = asyncio.Event()

    async def endless() -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), 60)
            wake.clear()

    running = asyncio.create_task(endless())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    wake.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=1)
    assert done, "the cancellation is lost"
    assert running.cancelled()


async def test_what_takes_longer_is_cancelled_and_told_as_a_timeout() -> None:
    cancelled = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(TimeoutError):
        await wait_for(long(), 0.01)
    assert cancelled.is_set()


@pytest.mark.parametrize("timeout", [0, -1.0])
async def test_without_any_time_only_what_is_there_already_is_given(timeout: float) -> None:
    there: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    there.set_result(5)
    assert await wait_for(there, timeout) == 5
    coming: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await wait_for(coming, timeout)
    assert coming.cancelled()


async def test_without_a_limit_it_waits_until_it_is_there() -> None:
    async def slow() -> int:
        await asyncio.sleep(0.01)
        return 3

    assert await wait_for(slow(), None) == 3
