"""What crosses a process: events, names, symbols, instruments. Pure: no I/O, imports nothing of ours."""
