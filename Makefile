# The environment lives in .venv and is made on first use; PYTHON=... chooses the interpreter.
PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# torch goes first and alone, by its exact version: a CPU-only wheel at hand is then taken,
# and the next step leaves it in place.
PACKAGE := .venv/.package

$(PACKAGE): pyproject.toml constraints.txt
	@echo "==> Making .venv: torch first (a download of 200 MB to 1 GB), then the package"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install -c constraints.txt -e ".[examples]"
	@touch $@

.PHONY: install
install: $(STAMP) ## Make .venv with the package and its tools, at the versions of constraints.txt

# Of DaCapo, whose losses are a reference for the tests, the files of the losses are enough; its
# dependencies are many.
$(STAMP): $(PACKAGE)
	@echo "==> Adding what development needs to .venv (1.5 GB: ray, dask, onnxruntime, ...)"
	$(BIN)/pip install -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --no-deps "$$(grep '^dacapo-ml==' constraints.txt)"
	@touch $@

# What the benchmarks compare with, besides what the tests need.
PEERS := .venv/.peers

$(PEERS): $(STAMP)
	$(BIN)/pip install -c constraints.txt -e ".[bench]"
	@touch $@

.PHONY: demo
demo: $(PACKAGE) ## Run examples/quickstart.py; needs no development tools
	$(BIN)/python examples/quickstart.py

# One process a core (at most four), so one thread a process. One that has nothing left to do takes
# tests of another: the examples, which take minutes, would otherwise wait for one process.
PYTEST := pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: test
test: $(STAMP) ## Run all tests and doctests
	OMP_NUM_THREADS=1 $(BIN)/$(PYTEST)

# Values, messages and theorems: what breaks first, a third of all tests.
QUICK := tests/unit tests/property sksurvtorch

.PHONY: test-quick
test-quick: $(STAMP) ## Run the tests of values, messages and theorems, and doctests, in 1 to 4 minutes
	OMP_NUM_THREADS=1 $(BIN)/$(PYTEST) $(QUICK)

# The oldest versions that pyproject.toml admits, in an environment of their own.
LOWEST := .venv-lowest

$(LOWEST)/.installed: pyproject.toml $(STAMP)
	$(PYTHON) -m venv $(LOWEST)
	$(BIN)/python .ci/lowest_versions.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/pip install "$$(grep '^torch==' $(LOWEST)/constraints.txt)"
	$(LOWEST)/bin/pip install -c $(LOWEST)/constraints.txt -e ".[test]"
	$(LOWEST)/bin/pip install --no-deps "$$(grep '^dacapo-ml==' constraints.txt)"
	@touch $@

.PHONY: lowest
lowest: $(LOWEST)/.installed ## Run the quick tests with the lowest versions of pyproject.toml
	OMP_NUM_THREADS=1 $(LOWEST)/bin/$(PYTEST) $(QUICK)

.PHONY: build
build: $(STAMP) ## Build the source distribution and the wheel into dist
	$(BIN)/python -m build

# One thread; from benchmarks/, whose scripts share their parts.
BENCH := cd benchmarks && OMP_NUM_THREADS=1 ../$(BIN)/python -W ignore -m speed

.PHONY: bench
bench: $(PEERS) ## Measure speed and memory beside the peers, and write docs/benchmarks.md
	$(BENCH)

.PHONY: bench-quick
bench-quick: $(PEERS) ## Print the same for smaller sizes, in two minutes
	$(BENCH) --quick

# What builds the site.
DOCS := .venv/.docs

$(DOCS): $(STAMP)
	$(BIN)/pip install -c constraints.txt -e ".[docs]"
	@touch $@

# Warnings are errors; so are links to names of this package that do not exist (-n).
SITE := OMP_NUM_THREADS=1 $(BIN)/sphinx-build -M html docs docs/_build -W --keep-going -n

.PHONY: docs
docs: $(DOCS) ## Run the examples, and build the site into docs/_build/html
	$(SITE)

.PHONY: docs-quick
docs-quick: $(DOCS) ## Build the site without running the examples
	$(SITE) -D plot_gallery=0

.PHONY: check
check: $(STAMP) ## Check format, lint, types, layers, docstrings and spelling
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	find sksurvtorch -name '*.py' | sort | xargs $(BIN)/numpydoc lint
	$(BIN)/codespell

.PHONY: format
format: $(STAMP) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: clean
clean: ## Remove caches and build output, but not .venv
	rm -rf .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	rm -rf docs/_build docs/auto_examples docs/api/generated docs/api/backreferences examples/*.png
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
