"""The spool: bounded, in order, and undisturbed by what a crash leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers._claim import claim
from producers._lanes import Message
from producers._spool import SEGMENT_BYTES, Spool


def _message(text: str) -> Message:
    return Message("md.trade.binance.BTC-USDT", {"Nats-Msg-Id": text}, text.encode())


def _drain(spool: Spool) -> list[str]:
    found = []
    while batch := spool.read(7):
        for message in batch:
            found.append(message.payload.decode())
            spool.settle(message.segment)
    return found


def test_messages_come_back_in_order_and_leave_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "x", 1 << 20)
    for number in range(100):
        assert spool.append(_message(str(number)))
    assert _drain(spool) == [str(number) for number in range(100)]
    assert not spool.unread
    assert not list(tmp_path.glob("*.spool"))


def test_another_run_finds_them_and_what_was_put_in_front_comes_first(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "x", 1 << 20)
    spool.append(_message("2"))
    spool.prepend([_message("0"), _message("1")])
    spool.close()
    assert _drain(Spool(tmp_path, "x", 1 << 20)) == ["0", "1", "2"]


def test_a_message_read_but_not_acknowledged_comes_again_in_the_next_run(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "x", 1 << 20)
    spool.append(_message("0"))
    spool.read(1)
    spool.close()
    assert _drain(Spool(tmp_path, "x", 1 << 20)) == ["0"]


def test_the_bound_holds_and_force_passes_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "x", 1_000)
    taken = sum(spool.append(_message(f"{number:050}")) for number in range(100))
    assert 0 < taken < 100
    assert spool.bytes <= 1_000
    assert spool.append(_message("gap"), force=True)


def test_more_than_a_segment_is_kept_in_several_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "x", 1 << 30)
    big = "y" * (1 << 20)
    count = 2 * SEGMENT_BYTES // (1 << 20)
    for number in range(count):
        assert spool.append(_message(f"{number}-{big}"))
    assert len(list(tmp_path.glob("*.spool"))) > 1
    assert [text.partition("-")[0] for text in _drain(spool)] == [str(number) for number in range(count)]


@given(cut=st.integers(1, 400), flip=st.integers(0, 400))
def test_a_bad_tail_costs_its_records_and_nothing_before_them(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder, "x", 1 << 20)
    for number in range(10):
        spool.append(_message(str(number)))
    spool.close()
    (path,) = folder.glob("*.spool")
    data = bytearray(path.read_bytes())
    size = len(data) // 10
    end = max(1, len(data) - cut)
    damaged = min(flip, end - 1)
    data[damaged] ^= 0xFF
    path.write_bytes(data[:end])
    again = Spool(folder, "x", 1 << 20)
    whole = min(damaged, end) // size
    assert _drain(again)[:whole] == [str(number) for number in range(whole)]
    assert again.damaged_bytes > 0
    again.append(_message("new"))
    assert _drain(again) == ["new"]


def test_a_second_producer_gets_a_spool_of_its_own_and_the_next_one_takes_over_what_it_left(tmp_path: Path) -> None:
    first, second = claim(tmp_path, "x"), claim(tmp_path, "x")
    assert (first.stem, second.stem) == ("x", "x_2")
    for taken, text in ((first, "first"), (second, "second")):
        spool = Spool(tmp_path, taken.stem, 1 << 20)
        spool.append(_message(text))
        spool.close()
        taken.release()
    again = claim(tmp_path, "x")
    assert sorted(_drain(Spool(tmp_path, again.stem, 1 << 20))) == ["first", "second"]
    again.release()


def test_a_spool_that_cannot_be_written_says_so_instead_of_failing(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("not run: root may write anywhere")
    spool = Spool(tmp_path, "x", 1 << 20)
    tmp_path.chmod(0o500)
    try:
        assert not spool.append(_message("0"))
    finally:
        tmp_path.chmod(0o700)
