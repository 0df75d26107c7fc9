"""A bucket is read whole, every time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from schemas.bucket import read

BUCKET = "test"


@pytest.fixture
async def bucket(nats: Client) -> AsyncIterator[KeyValue]:
    context = nats.jetstream()
    yield await context.create_key_value(bucket=BUCKET, history=4)
    await context.delete_key_value(BUCKET)


async def test_none_of_three_hundred_reads_misses_a_key(bucket: KeyValue, nats: Client) -> None:
    for key in "abc":
        await bucket.put(key, key.encode())
    for _ in range(300):
        assert [entry.key for entry in await read(nats, BUCKET)] == ["a", "b", "c"]


async def test_the_newest_values_are_those_of_their_keys_without_what_was_deleted(
    bucket: KeyValue, nats: Client
) -> None:
    assert await read(nats, BUCKET) == []
    await bucket.put("x.one", b"1")
    await bucket.put("y.two", b"2")
    newest = await bucket.put("x.one", b"3")
    await bucket.put("x.gone", b"4")
    await bucket.delete("x.gone")
    assert await read(nats, BUCKET, "x.>") == [("x.one", b"3", newest)]
    assert {entry.value for entry in await read(nats, BUCKET)} == {b"2", b"3"}
    assert [entry.value for entry in await read(nats, BUCKET, "x.one", history=True)] == [b"1", b"3"]


async def test_many_keys_come_in_the_order_they_were_written(bucket: KeyValue, nats: Client) -> None:
    for n in range(1_500):
        await nats.publish(f"$KV.{BUCKET}.k{n}", b"%d" % n)
    await nats.flush()
    await bucket.put("last", b"")
    assert [entry.key for entry in await read(nats, BUCKET)] == [*(f"k{n}" for n in range(1_500)), "last"]


async def test_a_bucket_that_is_not_there_is_an_error(nats: Client) -> None:
    with pytest.raises(NotFoundError):
        await read(nats, "nowhere")
