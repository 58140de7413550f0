# `make demo` and `make test` work as the first command on a fresh machine with Python 3.10+ and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.PHONY: demo test check clean

demo: $(STAMP)  ## train on the embedded digits, write runs/demo
	$(ONE_THREAD) $(BIN)/python -m examples.demo --out runs/demo

test: $(STAMP)  ## run all tests and doctests
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

check: $(STAMP)  ## formatting, lint and types
	$(BIN)/ruff check .
	$(BIN)/pyright

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs
