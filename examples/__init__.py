"""Programs that read flowtape; each runs from the top of the checkout: python -m examples.plot --help."""
