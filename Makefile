# One environment, .venv, for everything. `make demo` and `make test` set up what they need from nothing but Python (>= 3.11) and make.
PYTHON ?= python3
BIN := .venv/bin
RUN := MPLBACKEND=Agg $(BIN)/

.DEFAULT_GOAL := help
.PHONY: help setup programs demo check lint types test test-all run-tests compiled docs notebooks bench clean

help:  ## Show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

setup: .venv/.ready  ## Make .venv with everything in it

# Rebuilt when what is to be installed changes. The constraints name a torch without CUDA's gigabytes.
.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing. Type: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Two programs that no Python package brings: ffmpeg for musdb and for the reader of Hugging Face datasets, and Chromium, in which
# the report is tested. Installed where we may, otherwise one line says how; the tests that need them say when they are left out.
programs:
	@missing=""; for name in ffmpeg chromium; do command -v $$name >/dev/null || missing="$$missing $$name"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "installing$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	  elif command -v brew >/dev/null; then echo "Some tests need$$missing. Type: brew install$$missing"; \
	  elif command -v apt-get >/dev/null; then echo "Some tests need$$missing. Type: sudo apt-get install$$missing"; \
	  else echo "Some tests need$$missing. Install with your package manager, e.g.: sudo dnf install$$missing"; fi; fi

demo: setup  ## Make a small, checked dataset from a real multitrack excerpt, in demo-corpus/
	$(RUN)stemwright demo demo-corpus

check: lint types  ## Format, lint, types

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

test: programs lint compiled  ## Format, lint, types and tests; what needs a network, a GPU or published weights is left out and said
	@$(MAKE) --no-print-directory --jobs 2 types run-tests

test-all: programs lint compiled  ## The slow tests as well
	@$(MAKE) --no-print-directory --jobs 2 types run-tests SLOW="--run slow"

# The longest files first (tests/conftest.py), and each file in one process, for its fixtures.
run-tests: setup
	OMP_NUM_THREADS=1 $(RUN)pytest -q -n $${TEST_PROCESSES:-2} --dist loadfile --no-loadscope-reorder $(SLOW)

# For the many processes that tests start: where PYTHONDONTWRITEBYTECODE is set, each would compile all sources.
compiled: setup
	@$(BIN)/python -m compileall -q manifests separation datagen stemwright

docs: setup  ## The documentation site, in build/docs/html; needs no network once the environment is there
	$(RUN)python docs/build.py

notebooks: setup  ## Run the notebooks and store their outputs
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python notebooks/store_outputs.py

bench: programs setup  ## Every benchmark; writes docs/results.md
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench,openvino]'
	set -e; for name in decoding identity multitracks pipeline labels durability loudness balance_accuracy effects effect_batches before_after inversion fit console foreign_consoles readable_equalisers declipping undo blind separation loader rebuild train_mixer musical_levels rules_corpus scale; do $(BIN)/python benchmarks/$$name.py --write; done

clean:  ## Remove the environment and everything made
	rm -rf .venv demo-corpus build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
