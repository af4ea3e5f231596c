# make pretrain · make test: each sets up .venv from nothing, then works.

VENV    := .venv
BIN     := $(VENV)/bin
ARGS    ?=
STAMP   := $(VENV)/.installed
MLFLOW  := $(BIN)/mlflow $(addprefix --env-file ,$(wildcard .env))
ENTRIES := $(shell sed -n 's/^  \([a-z]*\):.*/\1/p' MLproject)
PYTHON  ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

export PATH := $(CURDIR)/$(BIN):$(PATH)
MLFLOW_DISABLE_TELEMETRY ?= true
export MLFLOW_DISABLE_TELEMETRY

.PHONY: help setup $(ENTRIES) test test-slow test-all lint format type ui clean

help:  ## Show the targets
	@for entry in $(filter-out main,$(ENTRIES)); do \
		printf "  make %-10s mlflow run . -e $$entry; ARGS='-P parameter=value …'\n" $$entry; done
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## Create or refresh .venv

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; install it, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Installing into $(VENV) with $(PYTHON) (a few minutes, once)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	@touch $@

$(ENTRIES): $(STAMP)  # every entry point of MLproject; ARGS='-P data=sample -P max_steps=1000'
	@$(MLFLOW) run . -e $@ --env-manager local $(ARGS)

test: $(STAMP)  ## The tests; ARGS='tests/data -x'
	@$(BIN)/python -m pytest $(ARGS)

test-slow: $(STAMP)  ## Several processes, database servers, kill -9, a browser
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-all: test test-slow  ## Both

lint: $(STAMP)  ## ruff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(STAMP)  ## ruff, repairing
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

type: $(STAMP)  ## mypy
	@$(BIN)/mypy

ui: $(STAMP)  ## mlflow ui on the local store
	@$(MLFLOW) ui

clean:  ## Remove the environment and caches, never runs
	@rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage coverage.xml
