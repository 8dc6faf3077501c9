# The environment lives in .venv and is made on first use; PYTHON=... chooses the interpreter.
PYTHON ?= $(shell python3.11 --version >/dev/null 2>&1 && echo python3.11 || echo python3)
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(STAMP) ## Make .venv with the package and its tools, at the versions of constraints.txt

# torch goes first and alone, by its exact version: a CPU-only wheel at hand is then taken,
# and the second step leaves it in place. Of DaCapo, whose losses are a reference for the tests,
# the files of the losses are enough; its dependencies are many.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet -c constraints.txt -e ".[dev]"
	$(BIN)/pip install --quiet --no-deps "$$(grep '^dacapo-ml==' constraints.txt)"
	@touch $@

# What the benchmarks compare with, besides what the tests need.
PEERS := .venv/.peers

$(PEERS): $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e ".[bench]"
	@touch $@

.PHONY: demo
demo: $(STAMP) ## Run examples/quickstart.py
	$(BIN)/python examples/quickstart.py

# One process a core (at most four), so one thread a process.
.PHONY: test
test: $(STAMP) ## Run all tests and doctests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4

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
	$(BIN)/pip install --quiet -c constraints.txt -e ".[docs]"
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
