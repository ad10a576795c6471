PYTHON ?= python3
PORT ?= 8000
VENV := .venv
INSTALLED := $(VENV)/.installed
BENCH_INSTALLED := $(VENV)/.installed-bench

.PHONY: install install-bench demo test test-slow test-again test-thorough check consistency mutants mutants-short limits bench bench-short loadtest flood overadmission month

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

install-bench: $(BENCH_INSTALLED)

$(BENCH_INSTALLED): $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,bench]'
	touch $@

demo: install
	$(VENV)/bin/tenantcache demo --port $(PORT) $(ARGS)

# Many tests wait for servers of their own, so that five at a time suit two cores. Compiled code is kept, whatever the
# environment says: some two hundred processes would each compile the package.
WORKERS ?= 5
PYTEST := PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest --cache-clear -n $(WORKERS)

# All but what is marked as slow: for each of those, there is something shorter here that its promise rests on. Linters of
# our own are not tests: make check runs them.
test: install-bench
	$(PYTEST) -m 'not slow and not static'

# What is marked as slow, three minutes: each benchmark in short, fleets of processes that are killed, cut off and paused,
# a fleet in all bands of its budget, a day of it in virtual time, searches through all orders, and second variants.
# CONTRIBUTING lists it, and what make test has in place of each.
test-slow: install-bench
	$(PYTEST) -m slow

# What failed in the last run, if that is at most three tests: one at a time, on processors that nothing else uses.
test-again: install-bench
	$(VENV)/bin/python -m tests.again

# Both, with every seed, example and order of the searches: a quarter of an hour.
test-thorough: install-bench
	THOROUGH=1 $(PYTEST)

check: install-bench
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pyright --pythonpath $(VENV)/bin/python tests/typing
	$(VENV)/bin/python -m tests.typing.complete
	$(VENV)/bin/python -m pytest -q -m static

# Faults between real processes, four to eight minutes; writes its table into README.md and docs/consistency.md.
consistency: install
	$(VENV)/bin/python -m benchmarks.consistency

# Limits between real processes, while workers and Redis are killed: half an hour; writes docs/over-admission.md.
overadmission: install
	$(VENV)/bin/python -m benchmarks.over_admission

# Takes each guard of the protocol away in turn: the tests must fail each time. Half an hour; writes docs/guards.md.
mutants: install
	$(VENV)/bin/python -m tests.mutants

# One or two guards for each promise, each with the test that is enough: a minute.
mutants-short: install
	$(VENV)/bin/python -m tests.mutants --short

# What limits cost and how well they can be used, in virtual time.
limits: install
	$(VENV)/bin/python -m benchmarks.simulate_limits

# What four fleets pay for Redis in a month, in virtual time, half an hour; writes docs/bill.md and the README's table.
month: install
	$(VENV)/bin/python -m benchmarks.month

# tenantcache beside what people would use instead, a quarter of an hour; writes docs/benchmarks.md and the README's table.
bench: install-bench
	$(VENV)/bin/python -m benchmarks.bench
	$(VENV)/bin/python -m benchmarks.values

# The same in half a minute, to see that it runs: its figures mean nothing and are not written into the documents.
bench-short: install-bench
	$(VENV)/bin/python -m benchmarks.bench --short
	$(VENV)/bin/python -m benchmarks.values --short

# Load on a deployment of one's own, with its tenants: make loadtest URL=http://127.0.0.1:8000 ARGS='--hosts hosts.txt'
loadtest: install-bench
	$(VENV)/bin/tenantcache loadtest $(URL) $(ARGS)

# A flood of unknown hosts beside real traffic, three minutes; writes its tables into docs/flood.md.
flood: install
	$(VENV)/bin/python -m benchmarks.flood
