# Every target sets up .venv first: nothing but Python 3.11 or newer, git and make is needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-fast check fix bench clean

demo: .venv/ready          ## the whole loop on Python's own documentation (5 minutes)
	$(BIN)/simsearch demo

test: .venv/ready          ## all tests, with the real encoder and real data where they are
	$(BIN)/python -m pytest

test-fast: .venv/ready     ## the tests that need neither
	$(BIN)/python -m pytest -m "not slow and not data"

check: .venv/ready         ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: .venv/ready           ## format and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready         ## figures against their peers; half an hour
	$(BIN)/python benchmarks/published.py
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/cold_query.py
	$(BIN)/python benchmarks/finetune.py

clean:
	rm -rf .venv

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
