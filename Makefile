# `make demo` and `make test` work as the first command on a fresh machine with Python 3.10+ and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

OLDEST := .venv-oldest
# the rooms of the library; not lightning_modules and benchmarks, whose tests train for minutes
OLDEST_TESTS := torch_gbp tests/autograd tests/bases tests/convert tests/factors tests/inference tests/layers tests/likelihoods \
	tests/local tests/optim tests/predictive tests/weights

.PHONY: demo test test-oldest check docs clean

demo: $(STAMP)  ## train on the embedded digits, write runs/demo
	$(ONE_THREAD) $(BIN)/python -m examples.demo --out runs/demo

test: $(STAMP)  ## run all tests and doctests
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

test-oldest: $(OLDEST)/.installed  ## the library's own tests with the oldest torch that is allowed
	$(ONE_THREAD) $(OLDEST)/bin/python -m pytest -n 2 $(OLDEST_TESTS)

check: $(STAMP)  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: $(VENV)/.docs  ## build the site into build/site; a warning is an error
	$(ONE_THREAD) $(BIN)/python -m docs.site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,lightning]'
	touch $(STAMP)

$(OLDEST)/.installed: pyproject.toml
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet 'torch==2.6.*' --editable '.[dev,lightning]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build runs
