# The one list of tasks; continuous integration and pre-commit call it too. Needs Python 3.11+, pip and make.
#
#   make demo    set up .venv (first time only), then run the main job on handwritten digits
#   make test    set up .venv with what development needs, then check and test everything
#
# PYTHON     which Python makes .venv, e.g. make demo PYTHON=python3.12
# PIP_FLAGS  more for pip. On Linux without a GPU this saves some gigabytes:
#            make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# TESTS      what pytest gets, e.g. make pytest TESTS="tests/stages -k limits"

PYTHON ?= python3
PIP_FLAGS ?=
TESTS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet $(PIP_FLAGS) --constraint constraints.txt
SCHEMA := docs/requirement.schema.json
DIGITS := examples/digits

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format types layers pytest docs bench constraints clean distclean

help:  ## say what there is
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# ---------------------------------------------------------------------------------------------- environment

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is %s.%s; set PYTHON=python3.12 or the like" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "… setting up $(VENV) (first time only; some minutes, most of it downloading)"
	@$(PYTHON) -m venv $(VENV)

# A stamp is younger than what it was made from, so the second call does nothing.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "… installing Sartor with its trainer"
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable ".[openvino,train,tabular,demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "… installing Sartor with everything development needs"
	@$(PIP) setuptools
	@$(PIP) --no-build-isolation --editable ".[dev]"
	@touch $(VENV)/.demo $@

# ---------------------------------------------------------------------------------------------- use

demo: $(VENV)/.demo  ## the main job on handwritten digits: requirement in, package out, one prediction
	@$(BIN)/python $(DIGITS)/make_data.py
	$(BIN)/sartor run $(DIGITS)/requirement.yaml
	@run=$$(dirname "$$(ls -dt runs/digits-*/package | head -n 1)") && echo "$(BIN)/sartor predict $$run/package $(DIGITS)/seven.png" && \
	$(BIN)/sartor predict "$$run/package" $(DIGITS)/seven.png && echo && \
	echo "Serve it      $(BIN)/sartor serve $$run/package" && \
	echo "Ask why       $(BIN)/sartor explain $$run" && \
	echo "Look at it    $$run/report.html"

# ---------------------------------------------------------------------------------------------- development

test: check pytest  ## everything that must pass: style, types, layers, all tests

check: lint types layers  ## style, types and layers

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## put every file in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

pytest: $(VENV)/.dev  ## all tests, the slow ones too, on two processes
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(TESTS)

docs: $(VENV)/.dev  ## write what is generated: the schema, and the reference from the registry and --help
	$(BIN)/python -m sartor.stages.requirement $(SCHEMA)
	@for script in docs/[a-z]*.py; do if [ -f "$$script" ]; then echo "$(BIN)/python $$script"; $(BIN)/python "$$script" || exit 1; fi; done

bench: $(VENV)/.dev  ## run every benchmark; each opens with its claim
	@for script in benchmarks/[a-z]*.py; do if [ -f "$$script" ]; then echo "$(BIN)/python $$script"; $(BIN)/python "$$script" || exit 1; fi; done

constraints: $(VENV)/.dev  ## pin what is installed now
	@{ echo "# Every package of the development environment, pinned. Made by: make constraints"; \
	   $(BIN)/python -m pip --disable-pip-version-check freeze --all \
	   | grep -E '^[A-Za-z0-9._-]+==' | grep -viE '^(pip|wheel|sartor)==' | sed -E 's/\+[a-z0-9.]+$$//'; } > .constraints.new
	@mv .constraints.new constraints.txt

clean:  ## remove caches and what the demo made, except runs
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis $(DIGITS)/data $(DIGITS)/seven.png
	find src tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## also remove runs, evidence and .venv
	rm -rf runs .sartor $(VENV)
