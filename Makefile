# Every target sets up what it needs, so `make demo` and `make test` work on a fresh clone.
# A stamp file stands for each finished step: a second run costs nothing.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

BIN := .venv/bin
BUILD := .aws-sam/build/template.yaml
SOURCES := template.yaml samconfig.toml $(shell find functions layer statemachine -type f \
	-not -path '*/__pycache__/*' -not -name '*.pyc' 2>/dev/null)

export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 12

.PHONY: demo
demo: .venv/.done .venv-lambda/.done $(BUILD) ## Lose the servers, get the sorry page, come back: the whole story on this machine
	@$(BIN)/python -m sandbox.demo

.PHONY: test
test: .venv/.done .venv-lambda/.done .venv-floor/.done $(BUILD) ## Lint, types, template checks and all tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=layer $(BIN)/lint-imports --no-cache
	$(BIN)/sam validate --lint
	$(BIN)/cfn-lint template.yaml
	$(BIN)/pytest -n 2 --partners

.PHONY: bench
bench: .venv/.done .venv-lambda/.done $(BUILD) ## Cold starts against an empty and a plain handler
	@$(BIN)/python -m benchmarks.cold_start
	@$(BIN)/python -m benchmarks.maintenance_page

.PHONY: setup
setup: .venv/.done .venv-lambda/.done .venv-floor/.done ## Only make the three virtual environments

.PHONY: build
build: $(BUILD) ## Only build functions and layer (sam build)

.PHONY: deploy
deploy: $(BUILD) ## Deploy to the account of the current AWS credentials, asking for each parameter
	$(BIN)/sam deploy --guided

.PHONY: clean
clean: ## Remove everything that was made here
	rm -rf .venv .venv-lambda .venv-floor .aws-sam .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -exec rm -rf {} +

# Tools for development. `pip install --group` came with pip 25.1.
.venv/.done: pyproject.toml bin/find-python
	@$(call install,.venv,dev)

# What Lambda's own runtime offers and nothing more, so that a dependency missing from the layer cannot go unnoticed.
.venv-lambda/.done: pyproject.toml bin/find-python
	@$(call install,.venv-lambda,runtime)

# The same with the oldest SDK that the layer runs on.
.venv-floor/.done: pyproject.toml bin/find-python
	@$(call install,.venv-floor,floor)

# $(1): directory, $(2): dependency group. An environment whose Python still works is brought up to date, not made anew.
define install
python=$$(bin/find-python) || exit 1; \
$(1)/bin/python -c "" 2> /dev/null || { echo "Making $(1) with $$python"; "$$python" -m venv --clear $(1); } && \
echo "Installing the dependency group $(2) into $(1)" && \
$(1)/bin/python -m pip install --quiet "pip>=25.1" && \
$(1)/bin/python -m pip install --quiet --group $(2) && \
touch $(1)/.done
endef

# sam looks for python3.13 on PATH: the one of .venv is known to work. A failed build leaves an empty build directory,
# from which `sam deploy` would deploy unbuilt sources without a word: remove what is left of it.
$(BUILD): .venv/.done $(SOURCES)
	@echo "Building functions and layer"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sam build > .sam-build.log 2>&1 || { cat .sam-build.log; rm -rf .aws-sam/build; exit 1; }
	@rm -f .sam-build.log
	@touch $@
