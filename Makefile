# Two commands do everything on a machine that has Python 3.11 or newer and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The tests start many processes: without bytecode, each would compile what it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint types suite chromium docs bench matrix soak changelog clean

demo: $(VENV)/demo.stamp
	$(BIN)/llmtest demo

test: lint types suite

lint: $(VENV)/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/test.stamp
	$(BIN)/mypy

# coverage must start before pytest, or the plugin's own import lines are missed.
suite: $(VENV)/test.stamp
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# For the tests of the page, which are skipped without it.
chromium: $(VENV)/test.stamp
	.ci/chromium $(BIN)/python

# The site, in site/. A broken link or anchor ends the build.
docs: $(VENV)/docs.stamp
	$(BIN)/python -m zensical build --clean --strict

bench: $(VENV)/test.stamp
	$(BIN)/python -m benchmarks

soak: $(VENV)/test.stamp
	$(BIN)/pytest -m soak tests

matrix: $(VENV)/test.stamp
	$(BIN)/pip install --quiet nox
	$(BIN)/nox

changelog: $(VENV)/test.stamp
	$(BIN)/pip install --quiet towncrier
	$(BIN)/towncrier build --draft

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(VENV)/demo.stamp: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet -e '.[demo]'
	@touch $@

$(VENV)/docs.stamp: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet -e '.[docs]'
	@touch $@

$(VENV)/test.stamp: $(BIN)/python pyproject.toml
	$(BIN)/pip install --quiet -e '.[test]'
	@touch $@ $(VENV)/demo.stamp $(VENV)/docs.stamp

clean:
	rm -rf $(VENV) site .cache .nox .coverage* .mypy_cache .ruff_cache .pytest_cache
