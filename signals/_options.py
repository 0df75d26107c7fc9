"""The options of definitions, as the numbers kernels take. What each means: docs/signals.md."""

from __future__ import annotations

import numpy as np

from schemas.settings import SignalsSettings
from signals._layout import Floats

RATIO, INCLUSIVE, ZERO, MINIMUM, PERCENTILE, TRADED, HORIZONTAL, STACK = range(8)
AREA, PAIRS, NODES, SMOOTH, PROMINENCE, FILTER_BUY, FILTER_SELL = range(8, 15)
ABSORBED_EXTREME, ABSORBED_CLOSE, EXHAUSTED_ROWS, EXHAUSTED_PERCENT = range(15, 19)
COUNT = 19


def options(config: SignalsSettings) -> Floats:
    """One number an option; switches are 0 or 1, sizes in base units."""
    its = np.zeros(COUNT)
    imbalance, profile, unfinished = config.imbalance, config.profile, config.unfinished
    its[RATIO], its[INCLUSIVE] = imbalance.ratio, imbalance.inclusive
    its[ZERO] = imbalance.zero == "minimum"
    its[MINIMUM], its[PERCENTILE] = imbalance.minimum, imbalance.minimum_percentile
    its[TRADED], its[HORIZONTAL] = imbalance.gaps == "traded", imbalance.mode == "horizontal"
    its[STACK] = imbalance.stack
    its[AREA], its[PAIRS] = profile.value_area, profile.rows == 2
    its[NODES], its[SMOOTH], its[PROMINENCE] = profile.nodes, profile.smooth, profile.prominence
    its[FILTER_BUY], its[FILTER_SELL] = unfinished.buy, unfinished.sell
    its[ABSORBED_EXTREME], its[ABSORBED_CLOSE] = config.absorption.extreme, config.absorption.close
    its[EXHAUSTED_ROWS], its[EXHAUSTED_PERCENT] = config.exhaustion.rows, config.exhaustion.percent
    return its


DEFAULTS = options(SignalsSettings())
