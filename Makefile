# The commands people type. `make demo` and `make test` do all set-up on a fresh Linux or macOS machine.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint format bench chaos soak clean

demo: .venv/.local  ## rank the sample ads twice: the second process answers from the cache
	@$(BIN)/resumecache demo

test: lint  ## lint, types, import rules and every test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.bench  ## what a failing Redis costs, what the cache gains, what peers get wrong, and how fast all are
	$(BIN)/python -m benchmarks.failures
	$(BIN)/python -m benchmarks.gains
	$(BIN)/python -m benchmarks.completeness
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.sealing
	$(BIN)/python -m benchmarks.ranking

chaos: .venv/.dev  ## a million operations on a cluster whose servers fail
	$(BIN)/python -m tests.chaos.run --operations 1000000

soak: .venv/.dev  ## ten minutes of full load in eight processes
	$(BIN)/python -m tests.chaos.soak --minutes 10 --processes 8

clean:
	rm -rf .venv .demo-cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv

.venv/.local: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) --editable '.[local]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/python
	$(INSTALL) --editable '.[local,fast,agent,api,notebooks,test,lint]'
	@touch $@ .venv/.local

.venv/.bench: pyproject.toml constraints.txt .venv/.dev
	$(INSTALL) --editable '.[bench]'
	@touch $@
