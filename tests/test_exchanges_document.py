"""docs/exchanges.md says what the declarations say, and says it of every exchange."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from producers import __main__ as generated
from producers._exchange import every
from schemas.names import CHANNELS
from schemas.symbols import EXCHANGES

TEXT = generated.DOCUMENT.read_text(encoding="utf-8")
FRAMES = Path(__file__).resolve().parent / "frames"


def test_the_matrix_of_the_document_is_what_the_declarations_say() -> None:
    assert generated.document(TEXT) == TEXT, "run `make schemas`: docs/exchanges.md is old"


def test_the_matrix_has_a_row_for_every_known_exchange_and_a_column_for_every_channel() -> None:
    head, _, *rows = generated.matrix().splitlines()
    assert re.findall(r"\w+", head)[1:] == list(CHANNELS)
    assert [re.findall(r"`(\w+)`", row) for row in rows] == [[name] for name in sorted(EXCHANGES)]


def test_the_table_of_history_names_what_is_declared_and_nothing_else() -> None:
    head, _, *rows = generated.history().splitlines()
    words = re.findall(r"\w+", head)[1:]
    assert words == ["trades", "klines", "open_interest", "funding"]
    for row in rows:
        name, *cells = [cell.strip(" `") for cell in row.strip("|").split("|")]
        exchange = every()[name]
        assert ("by id" in cells[0], "by time" in cells[0]) == (
            exchange.history is not None,
            exchange.recent is not None,
        )
        for word, cell in zip(words[1:], cells[1:], strict=True):
            channel = exchange.channels.get(word)
            assert (cell != "none") == (channel is not None and channel.past is not None)


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no line"):
        generated.document("# Exchanges\n")


@pytest.mark.parametrize("exchange", sorted(every()))
def test_every_exchange_has_a_section_on_what_its_fields_mean(exchange) -> None:
    sections = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")[1:]}
    its = sections.get(exchange) or sections[exchange.removesuffix("_futures")]
    assert exchange in its
    for word in every()[exchange].channels:
        assert re.search(word.replace("_", " "), its, re.IGNORECASE), f"nothing is said of {word}"


@pytest.mark.parametrize("exchange", sorted(name for name, its in every().items() if "liquidations" in its.channels))
def test_liquidations_carry_the_coverage_that_is_declared(exchange) -> None:
    events = [
        msgspec.json.decode(line)
        for path in (FRAMES / exchange).glob("*.expected.jsonl")
        for line in path.read_bytes().splitlines()
    ]
    told = {event["coverage"] for event in events if event["kind"] == "liquidation"}
    assert told == {every()[exchange].channels["liquidations"].coverage}
