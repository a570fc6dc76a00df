PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
WORKERS ?= 2

.PHONY: help demo test lint types coverage stress check docs docs-check site wheel clean

help:  ## Show the targets.
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.core  ## Train specialists on synthetic images, assemble and measure a generalist.
	$(BIN)/medlego demo

test: $(VENV)/.dev  ## Run every test.
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev  ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Check types.
	$(BIN)/mypy

coverage: $(VENV)/.dev  ## Run every test and measure which lines ran.
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term:skip-covered

stress: $(VENV)/.dev  ## Run every test five times in random order on busy cores.
	$(BIN)/python -m tools.stress_tests --workers $(WORKERS)

check: lint types test docs-check  ## What CI runs.

docs: $(VENV)/.dev  ## Write the generated pages anew.
	$(BIN)/python -m tools.pages

docs-check: $(VENV)/.dev site  ## Check that the generated pages are up to date and the site builds.
	$(BIN)/python -m tools.pages --check

site: $(VENV)/.dev  ## Build the documentation site in site/; a warning or a broken link is an error.
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs site

wheel: $(VENV)/.dev  ## Build the wheel and check its metadata.
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

clean:  ## Remove the environment and everything generated.
	rm -rf $(VENV) build dist demo site .coverage .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e ".[dev]"
	touch $@ $(VENV)/.core
