PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test lint bench bench-peers bench-cuda clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed  ## make a virtual environment in .venv, with the package and its tests

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: setup  ## paint the sample picture: demo.png, and beside its sources demo-sheet.png
	$(BIN)/stylecore demo

# Of two processes, each with as many threads as there are cores, those that wait had better give theirs away.
test: lint .venv/cuda  ## run all checks and tests
	GOMP_SPINCOUNT=2000 $(BIN)/pytest -q -n 2

# The kernels for GPUs are compiled, and run on a simulator, on machines without one as well.
.venv/cuda: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test,cuda]'
	touch $@

lint: setup  ## check the code's style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

bench: setup  ## measure speed and memory, beside PyTorch if it is installed; options in BENCH="..."
	$(BIN)/python -m benchmarks $(BENCH)

bench-peers: setup  ## install PyTorch, then measure
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m benchmarks $(BENCH)

bench-cuda: setup .venv/cuda  ## measure an NVIDIA GPU beside the processor, and beside PyTorch if it is installed
	$(BIN)/python -m benchmarks --only cuda --sizes 256 512 1024 2048 $(BENCH)

clean:  ## remove all that was made, but for the networks in the user's cache
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis demo.png demo-sheet.png
	find stylecore kernels weights tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
