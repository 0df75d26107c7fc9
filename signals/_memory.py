"""Large arrays go back to the system as soon as they are let go of."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Have glibc map blocks of a megabyte and more one by one; elsewhere nothing is done.

    By itself glibc raises that bound up to 32 MB as blocks are freed, and then keeps what the tables that remember
    trades leave behind when they grow.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    mallopt(_MMAP_THRESHOLD, _BYTES)
    mallopt(_TRIM_THRESHOLD, _BYTES)
