PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
WORKERS ?= 2

.PHONY: help demo test lint types check docs clean

help:  ## Show the targets.
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.core  ## Train specialists on synthetic images, assemble and measure a generalist.
	$(BIN)/medlego demo

test: $(VENV)/.dev  ## Run every test.
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev  ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## Check types.
	$(BIN)/mypy

check: lint types test  ## What CI runs.

docs: $(VENV)/.dev  ## Write the generated pages anew.
	$(BIN)/python -m tools.make_cli_reference
	$(BIN)/python -m tools.make_dicom_table
	$(BIN)/python -m benchmarks.tables

clean:  ## Remove the environment and everything generated.
	rm -rf $(VENV) demo .pytest_cache .hypothesis .mypy_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e ".[dev]"
	touch $@ $(VENV)/.core
