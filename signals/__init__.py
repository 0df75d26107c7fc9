"""From trades to footprints, profiles and CVD in Redis. ``_underscore`` files are machinery, bare names are signals."""

from signals._cache import choose

choose()
