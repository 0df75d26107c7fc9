"""``python -m flowtape``: how the supervisor starts its workers."""

from flowtape.cli import main

main()
