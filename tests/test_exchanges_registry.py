"""The folder is the registry: an id finds its file, and it alone is read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from producers._exchange import every, load
from schemas.symbols import EXCHANGES


def test_every_known_exchange_has_a_producer_and_no_other_has() -> None:
    assert sorted(every()) == sorted(EXCHANGES)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_id_and_its_simulated_one_find_the_declaration(exchange) -> None:
    assert load(exchange) is load(f"sim_{exchange}") is every()[exchange]


@pytest.mark.parametrize("name", ["", "nosuch", "binance_", "binance_options", "kraken_futures_2", "_exchange"])
def test_an_unknown_id_is_a_key_error(name) -> None:
    with pytest.raises(KeyError):
        load(name)


@pytest.mark.parametrize("exchange", ["okx_futures", "kraken", "kraken_futures"])
def test_loading_one_exchange_imports_its_own_file_only(exchange) -> None:
    code = (
        "import sys; from producers._exchange import load; load(sys.argv[1]);"
        "print(*sorted(m for m in sys.modules if m.startswith('producers.') and not m.startswith('producers._')))"
    )
    ended = subprocess.run([sys.executable, "-c", code, exchange], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [f"producers.{'okx' if exchange == 'okx_futures' else exchange}"]
