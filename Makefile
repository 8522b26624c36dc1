PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test lint clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed  ## make a virtual environment in .venv, with the package and its tests

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: setup  ## paint the sample picture: demo.png, and beside its sources demo-sheet.png
	$(BIN)/stylecore demo

test: lint  ## run all checks and tests
	$(BIN)/pytest -q

lint: setup  ## check the code's style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

clean:  ## remove all that was made, but for the networks in the user's cache
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis demo.png demo-sheet.png
	find stylecore kernels weights tests -name __pycache__ -prune -exec rm -rf {} +
