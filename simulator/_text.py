"""Integers as the decimal texts exchanges send."""

from __future__ import annotations

from collections.abc import Callable

from simulator._market import Listing


def decimal(value: int, decimals: int, shown: int | None = None) -> str:
    """``value`` × 10^-``decimals`` with exactly ``shown`` decimals (default ``decimals``), which must suffice."""
    shown = decimals if shown is None else shown
    scaled = value * 10 ** (shown - decimals) if shown >= decimals else value // 10 ** (decimals - shown)
    if shown == 0:
        return str(scaled)
    sign, (whole, rest) = "-" if scaled < 0 else "", divmod(abs(scaled), 10**shown)
    return f"{sign}{whole}.{rest:0{shown}d}"


def writer(unit: int, decimals: int, shown: int | None = None) -> Callable[[int], str]:
    """A fast ``decimal`` for non-negative counts of ``unit``: the hot path formats every price with one."""
    padding = "0" * ((decimals if shown is None else shown) - decimals)
    if decimals == 0:
        tail = "." + padding if padding else ""
        return lambda count: f"{count * unit}{tail}"
    scale, form = 10**decimals, f"%d.%0{decimals}d{padding}"
    return lambda count: form % divmod(count * unit, scale)


class Texts:
    """How one listing's prices (ticks), quantities (steps) and values (ticks × steps) are written."""

    def __init__(self, listing: Listing, shown: int | None = None) -> None:
        self.price = writer(listing.tick, listing.price_decimals, shown)
        self.quantity = writer(listing.step, listing.quantity_decimals, shown)
        self.value = writer(listing.tick * listing.step, listing.value_decimals, shown)
