# `make demo` and `make test` need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo dev test test-long lint format bench guards fuzz audit sbom clean setup
.DEFAULT_GOAL := help

help:
	@echo "make demo       the whole job on a local Gmail server: Dagster, dlt, DuckDB"
	@echo "make dev        the Dagster UI on a local Gmail server, http://127.0.0.1:3000"
	@echo "make test       all tests but the long ones"
	@echo "make test-long  the long ones"
	@echo "make lint       format, lint, types, layers"
	@echo "make guards     takes out each guard in turn and names the test that misses it"
	@echo "make fuzz       feeds the parser and the readers of answers with what breaks them; SECONDS=60 for each"
	@echo "make audit      pins, licences and known vulnerabilities of all packages"
	@echo "make sbom       a software bill of materials, sbom.json"
	@echo "make bench      ratios against a hand-written floor"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[fuzz]' || echo "NOT RUN: atheris has no wheel for this machine; make fuzz does without it"
	@touch $(STAMP)

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m mail_ingest.demo

dev: $(STAMP)
	$(BIN)/python -m mail_ingest.demo --ui

test: $(STAMP)
	$(BIN)/python -m pytest -m "not long"

test-long: $(STAMP)
	$(BIN)/python -m pytest -m long --timeout 3600

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/dg check defs

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

guards: $(STAMP)
	$(BIN)/python -m mail_ingest_tests.guards

fuzz: $(STAMP)
	$(BIN)/python -m mail_ingest_tests.fuzz --seconds $(or $(SECONDS),60)

audit: $(STAMP)
	$(BIN)/python -m mail_ingest_tests.supply_chain audit

sbom: $(STAMP)
	$(BIN)/python -m mail_ingest_tests.supply_chain sbom

bench: $(STAMP)
	$(BIN)/python -m benchmarks.pipeline

clean:
	rm -rf $(VENV) .mail_ingest .mail_ingest_demo build dist
