# mypy: disallow-untyped-decorators=False
"""Point of control and value area of one profile: rows ascending, contiguous, exact in integers."""

from __future__ import annotations

from numba import njit

from signals._layout import Ints

SHARE = 70
"""Percent of the volume the area holds."""


@njit(cache=True)
def value_area(buy: Ints, sell: Ints, count: int, share: int = SHARE, rows: int = 2) -> tuple[int, int, int]:
    """(point of control, low, high) as row indices of the first ``count`` rows; -1 each without volume.

    The control row has the largest volume; a tie goes to the row nearest the middle, then to the lower.
    The area grows from it by the larger of the next ``rows`` rows above and below (equal: above), all of them at
    once, until it holds ``share`` percent. A side with fewer rows left offers those; an exhausted side loses.
    """
    total, control, most = 0, -1, 0
    for i in range(count):
        volume = buy[i] + sell[i]
        total += volume
        nearer = control >= 0 and abs(2 * i - (count - 1)) < abs(2 * control - (count - 1))
        if volume > most or (volume == most and volume > 0 and nearer):
            control, most = i, volume
    if control < 0:
        return -1, -1, -1
    # ceil(total * share %) with no product that could overflow
    wanted = total - ((100 - share) * (total // 100) + (100 - share) * (total % 100) // 100)
    low = high = control
    inside = most
    while inside < wanted:
        above = below = 0
        for i in range(high + 1, min(high + rows + 1, count)):
            above += buy[i] + sell[i]
        for i in range(max(low - rows, 0), low):
            below += buy[i] + sell[i]
        if low == 0 or (high < count - 1 and above >= below):
            high = min(high + rows, count - 1)
            inside += above
        else:
            low = max(low - rows, 0)
            inside += below
    return control, low, high
