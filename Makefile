# The commands of the README, and what continuous integration asks for beside them.
PYTHON ?= python3
WORKERS ?= 2
SEEDS ?= 20
BIN := .venv/bin

.PHONY: check test lint pages docs browser frameworks selftest

# Runs the suite on an implementation that many depend on: it must conform.
check: .venv/installed
	$(BIN)/attncheck run torch.nn:MultiheadAttention

test: .venv/installed
	$(BIN)/pytest -n $(WORKERS)

# Puts every known mistake and everything that is right before the checks, under 20 seeds or as many as are told.
selftest: .venv/installed
	$(BIN)/attncheck selftest --seeds $(SEEDS) --jobs $(WORKERS)

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Judges published attention of JAX, Flax, Equinox and Keras, which are some 150 MB and apart from the rest.
frameworks: .venv/frameworks
	$(BIN)/pytest tests/conformance/targets/frameworks

# Looks at the site of a matrix in headless Chromium, which is no Python package.
browser: .venv/installed
	$(BIN)/pytest tests/browser

# Writes the generated pages anew; a test fails if what is committed differs.
pages: .venv/installed
	$(BIN)/python docs/generate.py

docs: .venv/installed
	$(BIN)/sphinx-build -W --keep-going -q docs docs/_build

# Exactly the versions that the suite was run with; the project itself is installed in place.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
	touch $@

.venv/frameworks: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[frameworks]'
	touch $@
