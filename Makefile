# `make` prints this help. Every target makes the environment first if it is not there.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
ENVIRONMENT := $(VENV)/.recall-environment
ASSETS := platform/console/static/vendor/.recall-assets
STATIC := static-collected/.recall-collected
STATIC_SOURCES := $(shell find platform/*/static -type f -not -path '*/vendor/*' 2>/dev/null)
TYPED := platform/config platform/common platform/audit platform/accounts platform/catalog platform/alerts \
	platform/versions platform/api platform/console tenants workers bundles engines querymodel replicas gateway documents \
	failpoints cores demo cli \
	clients/python/recall_client

.PHONY: help setup demo up test test-quick test-milvus try-milvus lint format types contracts protos protos-check bench-quick bench-queries bench-build bench-filters bench-switches bench-beside bench-milvus clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: $(ENVIRONMENT) $(STATIC) ## the environment in .venv, from uv.lock, and the console's static files

demo: setup ## a running platform with a live service that answers; ONCE=1: stops it again and tells whether all worked
	@$(BIN)/recall demo $(if $(filter 1,$(ONCE)),--once)

up: setup ## all processes of the platform, until Ctrl-C
	@$(BIN)/recall up

test: setup ## every test (ARGS="tests/gateway -k limits" for some); RECALL_TEST_NO_SKIPS=1 forbids skips
	@tools/test.sh $(ARGS)

test-quick: setup ## the quick ring: no server but Valkey and SQLite, under a minute
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not servers and not e2e" $(ARGS)

test-milvus: setup ## engine milvus on a real Milvus 2.3.5, in a network of the tests' own (Linux, x86_64)
	@tools/test-milvus.sh $(ARGS)

try-milvus: setup ## two small Milvus instances on this machine, to try `engine: milvus` with; until Ctrl-C
	@tools/try-milvus.sh

lint: setup ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@for script in tools/*.sh .ci/run; do bash -n "$$script"; done

format: setup ## ruff puts everything into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup ## mypy --strict
	@$(BIN)/mypy $(TYPED)

contracts: setup ## who may import whom
	@$(BIN)/lint-imports

protos: setup ## compiles the protos
	@tools/protos.sh

protos-check: setup ## fails when the committed stubs differ from the protos
	@tools/protos-check.sh

bench-quick: setup ## recall and throughput through the gateway against raw hnswlib, in one run
	@$(BIN)/python -m benchmarks.quick

bench-queries: setup ## p50 and p99 of each kind of query for one caller, 1 M x 64; see ARGS="--keep FOLDER", "--items 100000"
	@$(BIN)/python -m benchmarks.queries $(ARGS)

bench-switches: setup ## 50 switches and rollbacks under load: no call fails, a rollback takes at most 1 s (ARGS="--switches 10")
	@$(BIN)/python -m benchmarks.switches $(ARGS)

bench-beside: setup ## p99 while a build of 1 M x 64 runs against without; about 18 minutes (ARGS="--items 100000")
	@$(BIN)/python -m benchmarks.build_beside_serving $(ARGS)

bench-milvus: setup ## switches, a build beside and a kill -9 on two real Milvus instances; 10 minutes (ARGS="--items 100000")
	@tools/milvus-server.sh
	@$(BIN)/python -m tests.support.own_network $(BIN)/python -m benchmarks.milvus $(ARGS)

bench-build: setup ## a whole build against raw hnswlib, in one run; ITEMS=100000 for a short one
	@$(BIN)/python -m benchmarks.build $(if $(ITEMS),--items $(ITEMS))

bench-filters: setup ## what a filter costs by the share of items it selects, on each engine (ARGS="--items 1000000")
	@$(BIN)/python -m benchmarks.filters $(ARGS)

clean: ## removes what the other targets made, but never RECALL_HOME
	rm -rf $(VENV) static-collected $(dir $(ASSETS)) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(ENVIRONMENT): uv.lock pyproject.toml clients/python/pyproject.toml tools/setup.sh tools/check-prerequisites.sh
	@tools/check-prerequisites.sh >/dev/null
	@echo "Making the environment in $(VENV) (about a minute the first time) ..."
	@tools/setup.sh
	@touch $@

$(ASSETS): tools/assets.sh tools/assets/package.json tools/assets/package-lock.json | $(ENVIRONMENT)
	@tools/assets.sh
	@touch $@

$(STATIC): $(ENVIRONMENT) $(ASSETS) $(STATIC_SOURCES)
	@tools/collect-static.sh
	@touch $@
