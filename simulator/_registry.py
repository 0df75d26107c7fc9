"""The folder is the list of exchanges: every module here without an underscore is one family."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import simulator
from simulator._venue import Venue


@cache
def venues() -> tuple[Venue, ...]:
    """The ``VENUES`` of every exchange file."""
    found: list[Venue] = []
    for module in pkgutil.iter_modules(simulator.__path__):
        if not module.name.startswith("_"):
            found += importlib.import_module(f"simulator.{module.name}").VENUES
    return tuple(found)
