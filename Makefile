# Everything runs in .venv, which any target makes where it is missing. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests start their own worker processes: one thread each, or they fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help setup demo test test-slow soak check format bench docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: $(INSTALLED) ## make .venv with everything pinned in constraints.txt

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,fast]'
	touch $@

demo: $(INSTALLED) ## pack, train with two processes, kill, resume, sample, export, load (about 10 minutes on 2 cores)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash docs/demo.sh

test: $(INSTALLED) ## the default tests (minutes)
	$(PYTEST) -n 2 --dist worksteal -m "not slow" --ignore=tests/cluster
	$(PYTEST) -n 2 --dist worksteal -m "not slow" tests/cluster

test-slow: $(INSTALLED) ## the tests marked slow
	$(PYTEST) --timeout 900 -m slow --ignore=tests/cluster
	$(PYTEST) --timeout 900 -n 3 --dist worksteal -m slow tests/cluster

soak: $(INSTALLED) ## minutes of random faults on small runs (MINUTES=10, SEED=0); JSON
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults/soak.py --minutes $(or $(MINUTES),10) --seed $(or $(SEED),0)

check: $(INSTALLED) ## lint, formatting, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## time a training round at 64 px; JSON
	$(BIN)/python benchmarks/step.py

docs: $(INSTALLED) ## write docs/config.md from the code
	$(BIN)/python -m biggan_scale.config.document

clean: ## remove caches and build output; runs/ and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
