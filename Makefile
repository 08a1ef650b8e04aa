# zoo: `make train` and `make test` need nothing but Python 3.11 or newer and a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock
# Test files run side by side; a worker needs about a core and up to 6 GB of memory.
WORKERS ?= 2
SOURCES := pyproject.toml requirements.lock

.DEFAULT_GOAL := help
.PHONY: help train test lint format notebooks lock clean

help:  ## show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(VENV)/train.stamp  ## train chapter 6; flags go in ARGS='--epochs 5'
	$(BIN)/python -m zoo.ch06_cnn train $(ARGS)

test: lint  ## check style and types, run all tests and the notebooks
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --nbmake --nbmake-timeout=300 notebooks

lint: $(VENV)/test.stamp  ## check style and types alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.stamp  ## put sources and imports in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/test.stamp  ## bring each notebook and its .py twin into line, the newer one wins
	$(BIN)/jupytext --sync notebooks/*.py

lock: $(VENV)/test.stamp  ## renew requirements.lock; ARGS=--upgrade takes the newest versions
	$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	$(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	    --extra test --no-annotate --no-emit-index-url --no-emit-find-links \
	    --custom-compile-command 'make lock' pyproject.toml -o requirements.lock $(ARGS)

clean:  ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "zoo needs Python 3.11 or newer, and $(PYTHON) is '$$($(PYTHON) --version 2>&1)';" \
	        "name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/train.stamp: $(SOURCES) | $(BIN)/python
	@echo "installing zoo into $(VENV) (a minute or two, once)"
	$(PIP) -e .
	@touch $@

$(VENV)/test.stamp: $(SOURCES) | $(BIN)/python
	@echo "installing zoo and its test tools into $(VENV) (a minute or two, once)"
	$(PIP) -e '.[test]'
	@touch $(VENV)/train.stamp $@
