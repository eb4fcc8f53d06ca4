# Set-up and the gate; `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip hands these pins on to the environments that it builds packages in; from 25.3 on it looks at
# the second variable for those.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# pyright would ask a registry for news of itself on every run.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DELETE_ON_ERROR:
.PHONY: help demo test test-all fast lint format bench clean

help:
	@echo "make demo      set up, and tell how the objects in a clip of the package move"
	@echo "make test      set up, and run the gate: formatting, lint, types, tests"
	@echo "make test-all  the gate with the nightly tests too, which take much longer"
	@echo "make fast      the gate without heavy tests, for every day"
	@echo "make lint      the gate without the tests"
	@echo "make format    format the code and mend what the linter can mend"
	@echo "make bench     run the benchmarks, about eight minutes"
	@echo "make wasm      build the engine in WebAssembly, for pages and Node.js"
	@echo "make clean     remove the environment and everything generated"

demo: $(VENV)/base.stamp
	$(BIN)/movinet predict src/movinet/demo/clip.mp4 --model motions

# More processes than cores: many tests wait, for servers, processes and clocks.
PROCESSES := $(shell $(PYTHON) -c 'import os; print(min(8, (3 * os.cpu_count() + 1) // 2))')
PYTEST := $(BIN)/pytest -n $(PROCESSES) --dist worksteal --durations 15

test: lint $(VENV)/native.stamp $(VENV)/wasm.stamp
	$(PYTEST) -m 'not nightly'

test-all: lint $(VENV)/native.stamp $(VENV)/wasm.stamp
	$(PYTEST)

fast: lint $(VENV)/native.stamp $(VENV)/wasm.stamp
	$(PYTEST) -m 'not heavy and not nightly'

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/clip_forward.py
	$(BIN)/python benchmarks/frame_step.py
	$(BIN)/python benchmarks/start_up.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/streaming.py --rounds 15
	$(BIN)/python benchmarks/frame_to_probabilities.py
	$(BIN)/python benchmarks/live.py --seconds 20
	$(BIN)/python benchmarks/serving.py --seconds 20

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp appears when everything before it went well, so an interrupted set-up is taken up again.
$(VENV)/venv.stamp:
	@$(PYTHON) -c 'import sys; sys.exit("movinet needs Python 3.11 or newer, and $(PYTHON) is " \
		+ sys.version.split()[0] + "; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# No PyTorch: what lies in the package runs without. `make test` adds the rest.
# Nor a compiler: MOVINET_NATIVE=0 leaves the native engine out.
$(VENV)/base.stamp: pyproject.toml constraints.txt $(VENV)/venv.stamp
	MOVINET_NATIVE=0 $(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt $(VENV)/venv.stamp
	MOVINET_NATIVE=0 $(BIN)/python -m pip install -e '.[dev]'
# It wants an old ml-dtypes, for a type of numbers that nobody sends here.
	$(BIN)/python -m pip install --no-deps tritonclient
	@touch $(VENV)/base.stamp $@

include native/targets.mk
