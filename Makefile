# Every target sets up .venv first: nothing but Python 3.11 or newer, git and make is needed.
PYTHON ?= python3
BIN := .venv/bin
# A file of tests is one process's, in order; so what its tests share is made once. The tests of a
# tiny encoder have no use for a second thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile \
	--no-loadscope-reorder

.PHONY: demo test test-fast check fix bench clean

demo: .venv/ready          ## the whole loop on Python's own documentation (5 minutes)
	$(BIN)/simsearch demo

test: .venv/ready          ## all tests, with the real encoder and real data where they are
	$(PYTEST)

test-fast: .venv/ready     ## the tests that need neither
	$(PYTEST) -m "not slow and not data"

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
