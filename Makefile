# One command per task. Needs Python 3.11 or later and make; everything else comes from the package registries.
#
#   make setup   .venv with circuitlab in it, versions from constraints.txt, front end built
#   make demo    trace the capital of Dallas's state into dallas.html, dallas.svg and dallas.json
#   make test    every test, front end and Python        make lint    formats, types, import rules
#   make bench   speed and agreement against circuit-tracer
#   make lab     JupyterLab on the notebooks             make wheel   sdist and wheel in dist/
#
# PIP_FLAGS goes to pip. On Linux torch's usual wheel carries CUDA; without a GPU the smaller one does:
#   make setup PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?=
BIN := .venv/bin
NPM := $(BIN)/python widgets/front_end.py npm
INSTALLED := .venv/.installed
NODE_TOOLS := widgets/node_modules/.tools-installed
PROMPT := fact : the capital of the state containing Dallas is

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test lint bench lab wheel front-end chromium clean

setup: $(INSTALLED) front-end

$(INSTALLED): pyproject.toml constraints.txt hatch_build.py widgets/front_end.py
	@"$(PYTHON)" -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null || { \
	  echo "circuitlab needs Python 3.11 or later; '$(PYTHON)' is not. Try make setup PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt --upgrade pip
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	touch $@

front-end: $(INSTALLED)
	@$(BIN)/python widgets/front_end.py build

demo: setup
	$(BIN)/circuitlab trace "$(PROMPT)" -o dallas.html -o dallas.svg -o dallas.json

# One thread: on few cores many small tensor operations are several times faster so.
demo: export OMP_NUM_THREADS ?= 1
test: export OMP_NUM_THREADS ?= 1
test: setup $(NODE_TOOLS) chromium
	$(NPM) test
	$(BIN)/python -m pytest

lint: setup $(NODE_TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(NPM) run check

bench: setup
	$(BIN)/python -m bench.against_peer

lab: setup
	$(BIN)/jupyter lab notebooks

wheel: setup
	rm -rf dist
	$(BIN)/hatchling build -d dist

$(NODE_TOOLS): widgets/package.json widgets/package-lock.json $(INSTALLED)
	$(NPM) ci
	touch $@

# The page is tested in a real browser; without one those tests are skipped and say so.
chromium:
	@if $(BIN)/python tests/browser.py; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "no Chromium, and no apt-get to install it: its tests are skipped"; exit 0; fi; \
	become=""; [ "$$(id -u)" = 0 ] || become="sudo -n"; \
	{ $$become apt-get update -qq && $$become apt-get install -y -qq --no-install-recommends chromium; } </dev/null >/dev/null 2>&1 \
	  || echo "Chromium could not be installed: its tests are skipped"

clean:
	rm -rf .venv widgets/node_modules circuitlab/static dist
