"""The exchange simulator: one seeded market, every exchange's wire format, faults on request."""
