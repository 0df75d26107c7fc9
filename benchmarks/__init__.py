"""``python -m benchmarks`` (``make bench``): speed, each figure beside its limit measured in the same run."""
