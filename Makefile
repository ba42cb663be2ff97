# Two commands matter: `make demo` and `make test`. Both set up what they need; `make` alone lists the rest.

PYTHON ?= python3
# More words for the tests, for example: make test ARGS="tests/unit -k engine"
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with everything pinned in requirements.lock (a minute the first time, then nothing)

demo: $(INSTALLED) ## Run the whole saga here and show what happened (under two minutes)
	@$(BIN)/saga demo $(ARGS)

test: $(INSTALLED) ## Run every test (several minutes); SAGA_STACK and SAGA_REQUIRE choose and insist on a stack
	@$(BIN)/python -m pytest $(ARGS)

lint: $(INSTALLED) ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED) ## Put every file into the one style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Pin the newest versions that pyproject.toml allows, with hashes (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	@printf 'hatchling\neditables\n' | uv pip compile pyproject.toml - --upgrade --quiet --all-extras --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --output-file requirements.lock
	@echo "requirements.lock pins $$(grep -c '==' requirements.lock) packages"

clean: ## Remove .venv and everything generated
	rm -rf $(VENV) .saga .pytest_cache .mypy_cache .ruff_cache .hypothesis target
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, as $(PYTHON); or name another: make PYTHON=python3.12 setup" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; install the module (Debian: apt-get install python3-venv)" >&2; \
		exit 1; }
	@echo "Setting up $(VENV): a minute or so the first time, with about 200 MB of packages."
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@# The build backend is pinned above like everything else, so nothing is fetched beside the lock.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "Ready: $(BIN)/saga"
