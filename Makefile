# zoo: `make train` and `make test` need nothing but Python 3.11 or newer and a package index.

# Python 3.11 is the default; its JAX was tested most.
PYTHON ?= $(shell python3.11 -c 0 2>/dev/null && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# Each Python has its own lock, since JAX has; one newer than those tested takes the newest.
LOCK = $(shell v=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
    test -e requirements/$$v.txt || v=3.13; echo requirements/$$v.txt)
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK)
# In the order of tests/conftest.py: xdist would begin with the files of most tests.
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# Test files run side by side; a worker needs about a core and up to 6 GB of memory.
WORKERS ?= 2
SOURCES := pyproject.toml $(wildcard requirements/*.txt)
MATRIX := 3.11 3.12 3.13

.DEFAULT_GOAL := help
.PHONY: help train test quick test-matrix mutants notebooks-run docs lint format notebooks lock compile gpu-results clean

help:  ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: $(VENV)/train.stamp  ## train chapter 6; flags go in ARGS='--epochs 5'
	$(BIN)/python -m zoo.ch06_cnn train $(ARGS)

test: lint  ## check style and types, run all tests and the notebooks
	$(PYTEST)
	$(MAKE) --no-print-directory notebooks-run

quick: $(VENV)/test.stamp  ## run what is quick: no processes, servers, real data or notebooks
	$(PYTEST) -m 'not slow and not realdata'

test-matrix:  ## run the quick tests on each Python found of 3.11, 3.12 and 3.13, with its JAX
	@found=; for v in $(MATRIX); do \
	    for p in python$$v $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$$v.*/bin/python; do \
	        $$p -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] != "'$$v'")' 2>/dev/null || continue; \
	        found="$$found $$v"; \
	        $(MAKE) --no-print-directory quick PYTHON=$$p VENV=.venv-$$v || exit 1; \
	        break; \
	    done; \
	done; \
	echo "tested on Python:$${found:- none of $(MATRIX) was found}"; test -n "$$found"

mutants: $(VENV)/mutants.stamp  ## do tests notice wrong code? FILES=zoo/common/ops.py ARGS='--share 0.1'
	$(BIN)/python tests/mutants.py $(ARGS) $(FILES)

notebooks-run: $(VENV)/test.stamp  ## execute the notebooks, with their outputs in executed/
	rm -rf executed && mkdir executed && cp notebooks/*.ipynb executed
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --nbmake --overwrite --nbmake-timeout=300 executed

docs: $(VENV)/docs.stamp  ## build the documentation, in docs/build
	test -d executed || $(MAKE) --no-print-directory notebooks-run
	$(BIN)/python -m sphinx -W --keep-going -q -b html -c docs . docs/build
	@echo "open docs/build/docs/index.html"

lint: $(VENV)/test.stamp  ## check style and types alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/test.stamp  ## put sources and imports in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/test.stamp  ## bring each notebook and its .py twin into line, the newer one wins
	$(BIN)/jupytext --sync notebooks/*.py

# 3.12 has the oldest JAX that zoo supports there, 3.13 the newest: `make test-matrix` tests both.
lock: $(VENV)/test.stamp  ## renew requirements/*.txt; ARGS=--upgrade takes the newest versions
	$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'
	for v in $(MATRIX); do \
	    test $$v != 3.12 || jax='-P jax==0.11.2 -P jaxlib==0.11.2'; \
	    $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version $$v \
	        --extra test --no-annotate --no-emit-index-url --no-emit-find-links \
	        --custom-compile-command 'make lock' pyproject.toml -o requirements/$$v.txt \
	        $$jax $(ARGS) || exit 1; \
	    jax=; \
	done

compile: $(VENV)/compile.stamp  ## compile all models for an H100, on any machine
	ZOO_CUDA_WHEELS=$(VENV)/cuda $(BIN)/python -m zoo.ch04_gpu compile $(ARGS)

gpu-results: $(VENV)/train.stamp  ## measure on a GPU what the READMEs say of a CPU; ARGS=--dry-run
	$(PIP) -e '.[cuda]'
	$(BIN)/python -m studies.gpu_results $(ARGS)

clean:  ## remove .venv and caches; runs/ stays
	rm -rf .venv .venv-3.* dist executed docs/api docs/build .pytest_cache .ruff_cache .mypy_cache .hypothesis
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

$(VENV)/docs.stamp: $(VENV)/test.stamp
	$(PIP) -e '.[docs]'
	@touch $@

$(VENV)/mutants.stamp: $(VENV)/test.stamp
	$(PIP) -e '.[mutants]'
	@touch $@

# In a folder of its own: beside JAX on a machine without a driver it prints an error at each start.
$(VENV)/compile.stamp: $(VENV)/test.stamp
	@echo "installing JAX's CUDA plugin into $(VENV)/cuda (462 MB, once)"
	$(PIP) --upgrade --target $(VENV)/cuda \
	    "jax-cuda12-plugin==$$($(BIN)/python -c 'import jaxlib; print(jaxlib.__version__)')"
	@touch $@
