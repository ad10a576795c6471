PYTHON ?= python3
PORT ?= 8000
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: install demo test check consistency mutants limits

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: install
	$(VENV)/bin/tenantcache demo --port $(PORT)

test: install
	$(VENV)/bin/python -m pytest

check: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -q tests/test_layers.py

# Faults between real processes, about eight minutes; writes its table into README.md and docs/consistency.md.
consistency: install
	$(VENV)/bin/python -m benchmarks.consistency

# Takes each guard of the protocol away in turn: the tests must fail each time.
mutants: install
	$(VENV)/bin/python -m tests.mutants

# What limits cost and how well they can be used, in virtual time.
limits: install
	$(VENV)/bin/python -m benchmarks.simulate_limits
