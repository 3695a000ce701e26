# Everything that is done with this repository, by name. `make help` lists it.
# Needs Python 3.11 or newer and make; what else is needed is put into .venv and .venv-uv here.

PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .venv-uv/bin/uv)
BIN := .venv/bin
READY := .venv/.ready

# Coverage gates: share of lines and branches, in percent. They may only rise.
CORE := schemas/*,producers/*,consumers/*
CORE_MIN := 97
REPO_MIN := 95

SECONDS ?= 60
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup hooks fmt check test cover demo bench chaos faults faults-short fuzz connector docs it clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(READY) ## make .venv as uv.lock says; every other target does so itself

hooks: $(READY) ## run formatter, linter and types before every commit
	@$(BIN)/pre-commit install

$(READY): pyproject.toml uv.lock | $(UV)
	@echo "setting up .venv as uv.lock says (the first time takes a minute)"
	@$(UV) sync --quiet --locked --inexact --all-extras
	@touch $@

.venv-uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 ..."; exit 1; }
	@echo "installing uv into .venv-uv"
	@$(PYTHON) -m venv .venv-uv || { echo "on Debian: apt-get install python3-venv"; exit 1; }
	@.venv-uv/bin/python -m pip install --quiet --disable-pip-version-check uv

fmt: $(READY) ## format, and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

check: $(READY) ## format, lint, types, architecture, dependencies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/deptry .

# Tests with sockets mostly wait: the three parts run beside each other, units at a lower priority.
TESTED := $(BIN)/coverage run -m pytest -q --durations=20 -m "not docker and not snowflake and not slow"
test: $(READY) ## all tests that need no Docker and no account
	@rm -f .coverage .coverage.*
	@mkdir -p build
	@echo "end-to-end tests; what units, flows and contract tests say follows"
	@nice -n 10 $(TESTED) tests/unit tests/flows tests/docs >build/units.log 2>&1 & units=$$!; \
	$(TESTED) tests/contract >build/contract.log 2>&1 & contract=$$!; \
	trap 'kill $$units $$contract 2>/dev/null' EXIT INT TERM; \
	$(TESTED) tests/e2e; failed=$$?; \
	wait $$contract || failed=1; \
	wait $$units || failed=1; \
	cat build/units.log build/contract.log; \
	$(BIN)/coverage combine --quiet; \
	exit $$failed

cover: $(READY) ## what the last `make test` covered, against the gates
	@$(BIN)/coverage report --include='$(CORE)' --precision=1 --fail-under=$(CORE_MIN)
	@$(BIN)/coverage report --format=total --precision=1 --fail-under=$(REPO_MIN)

demo: $(READY) ## a year of flights through the whole pipeline, audited
	@$(BIN)/sluice demo $(ARGS)

bench: $(READY) ## every figure of the docs with its target, and build/bench.json (half an hour)
	@$(UV) sync --quiet --locked --inexact --all-extras --group bench
	@$(BIN)/python -m benchmarks

chaos: $(READY) ## processes are killed at random for SECONDS, from SEED; then the audit
	@CHAOS_SECONDS=$(SECONDS) CHAOS_SEED=$(SEED) $(BIN)/pytest -q tests/e2e/test_chaos.py -m slow --timeout=$$(($(SECONDS) + 300))

faults: $(READY) ## single faults, poison and kills at every statement, 500 races, 200 kills (half an hour)
	@$(BIN)/pytest -q -m "slow and not docker and not snowflake" --deselect tests/e2e/test_chaos.py --timeout=300

SHORT = poison or (lost_requests and drop_reply) or COMMIT-True or without_a_warehouse or one_event
faults-short: $(READY) ## a part of the faults that takes two minutes
	@$(BIN)/pytest -q -m slow tests/e2e/test_poison.py tests/e2e/test_faults.py -k "$(SHORT)" --timeout=300

FUZZ_SECONDS = $(if $(filter file,$(origin SECONDS)),3600,$(SECONDS))
fuzz: $(READY) ## hostile requests for SECONDS (an hour), from SEED; CASE=NAME repeats one of them
	@FUZZ_SECONDS=$(FUZZ_SECONDS) FUZZ_SEED=$(SEED) FUZZ_CASE=$(CASE) \
		$(BIN)/pytest -q tests/e2e/test_fuzz.py

connector: $(READY) ## the warehouse's contract tests with connector 4.8, the oldest, in .venv-connector
	@UV_PROJECT_ENVIRONMENT=.venv-connector $(UV) sync --quiet --locked --all-extras
	@$(UV) pip install --quiet --python .venv-connector/bin/python 'snowflake-connector-python==4.8.*'
	@.venv-connector/bin/python -m pytest -q tests/contract/test_warehouse.py tests/contract/test_warehouse_*.py \
		-m "not snowflake and not slow" --timeout=300 -W ignore::pytest.PytestUnhandledThreadExceptionWarning

docs: $(READY) ## write the reference pages again
	@$(BIN)/sluice docs

it: $(READY) ## the compose stack, and the tests that need Docker
	@docker compose up --detach --build --wait
	@$(BIN)/pytest -q -m docker --force-enable-socket
	@docker compose exec -T loader sluice audit
	@docker compose down

clean: ## delete what was made here, but not .venv
	@rm -rf .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
