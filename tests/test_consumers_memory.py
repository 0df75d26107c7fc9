"""What the consumers remember is bounded, survives what it should, and never takes one event for another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers._pull import pending, stream_sequence
from consumers._questdb import SQL, QuestdbUnreachable, statement, statements
from consumers._recent import Recent, Revisions
from consumers._run import tables
from consumers._sender import Writer
from consumers._watermark import Watermark
from tests.consuming import trade


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2)), max_size=200))
def test_recent_says_what_a_dictionary_of_first_comers_says(seen: list[tuple[int, int]]) -> None:
    recent, first = Recent(1000), {}
    for identity, content in seen:
        answer = recent.seen(("x", identity), content)
        wanted = False if identity not in first else (True if first[identity] == content else None)
        assert answer is wanted
        first.setdefault(identity, content)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 5), st.integers(0, 5)), max_size=200))
def test_a_revision_is_newer_only_when_it_exceeds_all_before_it(seen: list[tuple[int, int, int]]) -> None:
    revisions, best = Revisions(1000), {}
    for identity, *version in seen:
        assert revisions.newer(identity, tuple(version)) is (tuple(version) > best.get(identity, (-1,)))
        best[identity] = max(tuple(version), best.get(identity, (-1,)))


def test_memory_is_bounded_and_the_latest_are_kept() -> None:
    recent = Recent(100)
    for number in range(10_000):
        assert recent.seen(number, 0) is False
    assert len(recent._new) + len(recent._old) <= 200
    assert all(recent.seen(number, 0) for number in range(9_900, 10_000))


def test_what_is_forgotten_is_new_again() -> None:
    recent = Recent()
    recent.seen("a", 1)
    recent.forget("a")
    assert recent.seen("a", 2) is False


def test_a_watermark_survives_a_restart_and_a_damaged_file_counts_as_none(tmp_path: Path) -> None:
    mark = Watermark(tmp_path, "questdb-trades", "MD_TRADE", lambda: 0.0)
    assert mark.compare("t1", 1, 10) is None
    mark.advance(10)
    mark.save(now=True)
    again = Watermark(tmp_path, "questdb-trades", "MD_TRADE", lambda: 0.0)
    assert (again.mark.created, again.mark.sequence) == ("t1", 10)
    for damage in (b"", b"{", b"\xff" * 100, b'{"stream":1}'):
        (tmp_path / "questdb-trades.json").write_bytes(damage)
        assert Watermark(tmp_path, "questdb-trades", "MD_TRADE", lambda: 0.0).mark.sequence == 0


@pytest.mark.parametrize(
    ("created", "first", "last", "finding"),
    [
        ("t1", 1, 10, None),
        ("t1", 11, 10, None),  # purged, and all of it had been read
        ("t1", 12, 20, ("hole", 1)),
        ("t1", 1, 9, ("regressed", 1)),
        ("t2", 1, 30, ("recreated", 30)),
    ],
)
def test_a_stream_is_compared_with_its_mark_and_the_finding_is_said_once(
    tmp_path: Path, created: str, first: int, last: int, finding: tuple[str, int] | None
) -> None:
    mark = Watermark(tmp_path, "questdb-trades", "MD_TRADE", lambda: 0.0)
    mark.compare("t1", 1, 10)
    mark.advance(10)
    assert mark.compare(created, first, last) == finding
    assert mark.compare(created, first, last) is None


class _Reply:
    def __init__(self, reply: str) -> None:
        self.reply = reply


@pytest.mark.parametrize("head", ["$JS.ACK.MD_TRADE", "$JS.ACK._.hash.MD_TRADE"])
def test_both_forms_of_an_ack_subject_give_sequence_and_pending(head: str) -> None:
    tail = ".token" if "hash" in head else ""
    message = _Reply(f"{head}.questdb-trades.1.4711.9.1700000000000000000.42{tail}")
    assert (stream_sequence(message), pending(message)) == (4711, 42)


def test_a_server_that_is_away_is_told_apart_from_rows_it_refuses() -> None:
    writer = Writer("http://127.0.0.1:1", "trades", tables()["trades"].layout)
    with pytest.raises(QuestdbUnreachable):
        writer.write([trade("BTC-USDT", 1)])
    writer.close()


def test_every_statement_file_holds_one_statement_and_takes_only_table_names() -> None:
    for path in sorted((SQL / "statements").glob("*.sql")):
        assert len(statements(path)) == 1, path.name
    with pytest.raises(ValueError, match="not a table name"):
        statement("latest", table="trades; DROP TABLE trades")
