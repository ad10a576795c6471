"""A month in the life of four fleets, in virtual time, and what Redis bills for it: `python -m benchmarks.month`."""
