"""Writes a signal to begin with, and its test: ``flowtape signal new NAME``."""

from __future__ import annotations

from pathlib import Path

from schemas.settings import ConfigError
from signals._own_names import is_name

SIGNAL = '''"""Who presses: the share of aggressive buying in volume, old volume counting half after a minute."""

import numpy as np
from numba import njit

LOOKBACK = "1h"  # read again from the log after a start
HALF_LIFE_US = 60_000_000


@njit
def add(state, timestamp, quantity, is_buyer_maker):
    """state: buying, selling, time of the last trade."""
    for i in range(len(timestamp)):
        fade = 0.5 ** (max(timestamp[i] - state[2], 0) / HALF_LIFE_US)
        state[0] *= fade
        state[1] *= fade
        state[1 if is_buyer_maker[i] else 0] += quantity[i]
        state[2] = max(state[2], timestamp[i])


class Signal:
    """One for each exchange and symbol."""

    def __init__(self, exchange, symbol):
        self.state = np.zeros(3)

    def trades(self, trades):
        """New trades in order, as columns: timestamp (µs), price, quantity, value, is_buyer_maker."""
        add(self.state, trades.timestamp, trades.quantity, trades.is_buyer_maker)

    def value(self):
        """What the key holds; None for nothing yet."""
        buying, selling, _ = self.state
        return {"pressure": buying / (buying + selling)} if buying + selling else None
'''
TEST = '''"""What the signal of NAME.py says of known trades; how they are cut into batches does not matter."""

from pathlib import Path

from schemas.events import Trade
from signals import own

SIGNAL = own.load("NAME", Path(__file__).with_name("NAME.py")).make
WHO = ("binance", "BTC-USDT")
T0 = 1_795_000_000_000_000


def trade(number, seconds, quantity, sold):
    at = T0 + seconds * 1_000_000
    return Trade(*WHO, at, at, str(number), 100.0, quantity, 100.0 * quantity, sold)


def test_a_minute_old_buy_counts_half_of_a_sell_now():
    found = own.trial(SIGNAL, [trade(1, 0, 2.0, False), trade(2, 60, 1.0, True)])
    assert found[WHO] == {"pressure": 0.5}


def test_batches_and_copies_change_nothing():
    trades = [trade(n, n * 7, 1.0 + n % 3, n % 2 == 0) for n in range(40)]
    assert own.trial(SIGNAL, trades) == own.trial(SIGNAL, trades[:13], trades[5:])
'''


def write(name: str, folder: str) -> list[Path]:
    """The two files. Raises ConfigError for a name that cannot be, or is taken."""
    if not is_name(name) or name == "new":
        raise ConfigError("command line", name, "not a name of lower-case letters, digits and _")
    place = Path(folder)
    files = {place / f"{name}.py": SIGNAL, place / f"test_{name}.py": TEST}
    taken = [file for file in files if file.exists()]
    if taken:
        raise ConfigError("command line", name, f"{taken[0]} is there already")
    place.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text.replace("NAME", name), encoding="utf-8")
    return list(files)
