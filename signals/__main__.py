"""``python -m signals``: compile the kernels into their cache, so that the first engine starts in a second."""

from signals._cache import sweep
from signals._warm import warm_up

if __name__ == "__main__":
    sweep()
    warm_up()
