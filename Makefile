# Copeck. `make` alone lists what there is.
# One setting matters to most targets: COPECK_INFRA=env|native|docker (see .env.example). Options go in ARGS:
#   make test ARGS="--suite unit"      make chaos ARGS="--count 2000 --seed 7"

SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN := $(BIN)/python -m
STACK := $(RUN) deploy.devstack
LOCK := deploy/lock/dev.txt
STAMP := $(VENV)/.installed
ARGS ?=

##@ Setting up

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z][a-z-]*:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(STAMP) ## Create .venv from the hashed lock (instant when it is fresh)
	@:

$(STAMP): $(LOCK) deploy/install
	@PYTHON="$(PYTHON)" VENV="$(VENV)" sh deploy/install

.PHONY: lock
lock: install ## Compile deploy/lock/*.txt again from the services' pyproject.toml and constraints.in
	@UV="$(BIN)/uv" sh deploy/lock/update

##@ Running

.PHONY: demo
demo: install ## Start everything, sell a subscription and two coffees, print their timelines, stop
	@$(STACK) demo $(ARGS)

.PHONY: up
up: install ## Start everything and print the URLs; Ctrl-C stops it (ARGS=--detach: in the background)
	@$(STACK) up $(ARGS)

.PHONY: down
down: install ## Stop what `make up` started
	@$(STACK) down $(ARGS)

.PHONY: status
status: install ## What of the running stack answers
	@$(STACK) status $(ARGS)

.PHONY: migrate
migrate: install ## Migrate all schemas of the running stack (or of COPECK_MIGRATOR_DATABASE_URL)
	@$(STACK) migrate $(ARGS)

.PHONY: worker
worker: install ## Run one more gateway Celery worker beside the running stack
	@$(STACK) run gateway-worker $(ARGS)

.PHONY: beat
beat: install ## Run the scheduler beside the running stack (two of them do no harm)
	@$(STACK) run reminder-beat $(ARGS)

.PHONY: shell
shell: install ## psql on the running stack's database (ARGS="--role state_updater"; --python for a Python shell)
	@$(STACK) shell $(ARGS)

.PHONY: operator
operator: install ## The operator CLI on the running stack: make operator ARGS="invoice show ID"
	@$(STACK) operator $(ARGS)

##@ Checking

.PHONY: test
test: install ## Set up everything and run all tests: unit, integration, e2e, openapi, browser, chaos
	@$(STACK) test $(ARGS)

.PHONY: check
check: install ## Format, lint, types, import borders, architecture tests, generated files, locks
	@$(RUN) deploy.devstack.check $(ARGS)

.PHONY: format
format: install ## Format and fix what ruff can
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.PHONY: bench
bench: install ## Measure the updater beside the ORM baseline and pgbench; build/bench.json
	@$(STACK) bench $(ARGS)

.PHONY: chaos
chaos: install ## 2,000 purchases while processes and servers are killed, stopped and restarted
	@$(STACK) chaos $(ARGS)

.PHONY: coffee-chaos
coffee-chaos: install ## 2,000 coffees at 200 machines while everything breaks: a cup or the money, never both
	@$(STACK) coffee-chaos $(ARGS)

.PHONY: coffee-latency
coffee-latency: install ## From the payment's callback to the brew command on the wire; build/coffee-latency.json
	@$(STACK) coffee-latency $(ARGS)

.PHONY: machines-load
machines-load: install ## 5,000 connected machines on one bridge for 5 minutes; build/machines-load.json
	@$(STACK) machines-load $(ARGS)

.PHONY: load
load: install ## Payments, deposits, withdrawals and refunds of 1,000 wallets for a minute; build/load.json
	@$(STACK) load $(ARGS)

.PHONY: payouts-batch
payouts-batch: install ## 10,000 payouts of one file, 37 lines bad, the worker killed twice; build/batch.json
	@$(STACK) payouts-batch $(ARGS)

.PHONY: bugs
bugs: install ## Plant the seeded bugs one at a time and show which test catches each
	@$(STACK) bugs $(ARGS)

.PHONY: coverage-map
coverage-map: install ## For each public endpoint, command, notification and target: the test that exercises it
	@$(RUN) tests.arch.coverage_map $(ARGS)

.PHONY: coffee-table
coffee-table: install ## For each promise, error page and old defect of coffee: the test that exercises it
	@$(RUN) tests.arch.coverage_map --coffee $(ARGS)

.PHONY: compatibility-table
compatibility-table: install ## Every request that the replaced services document, sent to the running stack
	@$(RUN) tests.support.compatibility_table $(ARGS)

##@ Documents and containers

.PHONY: docs
docs: install ## Generate the documents under arch/ again
	@$(RUN) deploy.devstack.documents $(ARGS)

.PHONY: compose-demo
compose-demo: install ## Build the images, bring deploy/compose.yml up healthy, run the demo against it
	@$(STACK) compose-demo $(ARGS)

.PHONY: clean
clean: ## Remove what building, testing and running left (not .venv)
	@rm -rf build .devstack .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
