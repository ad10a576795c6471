"""tenantcache beside what people would use instead: one run, one machine, all contenders in turn. `make bench`.

`contenders/` sets each of them up, `inprocess`, `http`, `commands`, `scale`, `coldstart` and `staleness` are the six
parts, `report` and `plots` write down what came out. docs/benchmarks.md says what each figure means.
"""
