PYTHON ?= python3
BIN := .venv/bin
OLDEST := .venv/oldest

.PHONY: help setup demo test warm test-web test-oldest lint docs bench bench-peers bench-cuda clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/installed  ## create a virtual environment in .venv and install the package and its test tools there

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test]'
	touch $@

demo: setup  ## paint the sample photograph: demo.png, and demo-sheet.png with the originals beside it
	$(BIN)/stylecore demo

# The tests start hundreds of processes, which would compile all that they import again: two seconds in place of one.
unexport PYTHONDONTWRITEBYTECODE

# Two processes share the cores, so an OpenMP thread that waits should soon yield its core to the other process.
test test-web docs test-oldest: export GOMP_SPINCOUNT = 2000

# What uses one core only is run two at a time.
test: .venv/everything  ## run every check: lint, all tests, the page in a browser, the documentation, the quick tests with the oldest dependencies
	$(MAKE) -j 2 -O lint warm $(OLDEST)/installed
	$(BIN)/pytest -q -n 2 -m 'not browser'
	$(MAKE) -j 2 -O docs test-web test-oldest

# Debian's chromium is installed where that is possible; where there is no browser, the target fails.
test-web: setup  ## run the tests of the page in a browser, after installing what they need
	$(BIN)/python tests/browser.py

# To install all of it at once takes two thirds of the time.
.venv/everything: setup.cfg pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test,cuda,docs]'
	touch .venv/installed .venv/cuda .venv/docs $@

warm: setup
	$(BIN)/python -m tests.warm

# The CUDA kernels are also compiled, and run on a simulator, on machines without a GPU.
.venv/cuda: .venv/installed
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test,cuda]'
	touch $@

# With an empty cache and an index that does not answer, these tests also show that they pass without a network. The
# examples of the documentation and the tests of tiles, of memory and of hostile pickles are left out, and so are those in
# double precision, since each kernel is compiled in single precision, too.
test-oldest: $(OLDEST)/installed  ## run the quick tests with the lowest versions that setup.cfg allows
	STYLECORE_CACHE=$(OLDEST)/networks PIP_INDEX_URL=http://127.0.0.1:9 \
		$(OLDEST)/bin/pytest -q -n 2 -m 'not slow and not gpu and not vgg19' -k 'not float64 and not test_memory' \
		--ignore tests/test_examples.py \
		--ignore tests/stylecore/test_tiles.py --ignore tests/weights/test_pickles.py --ignore tests/weights/test_isolation.py

$(OLDEST)/installed: .venv/installed tests/oldest.py
	$(PYTHON) -m venv --clear $(OLDEST)
	$(BIN)/python tests/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --no-compile --constraint $(OLDEST)/constraints.txt --editable '.[test]'
	touch $@

# For the type checker, the three source folders are linked as they are installed.
lint: setup  ## check the style of the code with Ruff and its types with mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf .venv/typed
	mkdir -p .venv/typed/stylecore
	cd .venv/typed/stylecore && ln -s ../../../stylecore/* ../../../kernels ../../../weights .
	$(BIN)/mypy

.venv/docs: .venv/installed
	$(BIN)/python -m pip install --quiet --no-compile --editable '.[test,docs]'
	touch $@

docs: .venv/docs  ## build the documentation in docs/build and run its gallery, where a warning is an error
	rm -rf docs/build docs/gallery docs/reference/generated
	$(BIN)/python -m sphinx -W --keep-going -n -q docs docs/build

bench: setup  ## measure speed and memory, next to PyTorch if it is installed; pass options as BENCH="..."
	$(BIN)/python -m benchmarks $(BENCH)

bench-peers: setup  ## install PyTorch and JAX, then measure speed and memory next to them
	$(BIN)/python -m pip install --quiet torch==2.13.0 jax
	$(BIN)/python -m benchmarks $(BENCH)

bench-cuda: setup .venv/cuda  ## measure an NVIDIA GPU next to the CPU, and next to PyTorch if it is installed
	$(BIN)/python -m benchmarks --only cuda --sizes 256 512 1024 2048 $(BENCH)

clean:  ## remove everything that these targets create; downloaded networks stay in the user's cache
	rm -rf .venv build dist docs/build docs/gallery docs/reference/generated *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis demo.png demo-sheet.png
	find stylecore kernels weights tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
