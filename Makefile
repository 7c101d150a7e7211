SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
CARGO := source scripts/env && cargo

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests build demo test test-chart test-soak bench bench-kafka lint fmt

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Install what is missing, saying what and why
	@scripts/setup

setup-tests: ## The same, and what only tests need
	@scripts/setup tests

build: setup ## Build the program
	$(CARGO) build --release -p faultline

demo: build ## Run the main job on real reports and say where to look
	@source scripts/env && scripts/demo "$$FAULTLINE"

lint: setup-tests ## Formatting and lints, as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --release -- -D warnings

test: lint ## Everything that must hold
	$(CARGO) test --workspace --release
	@source scripts/env && integration-tests/run

test-chart: setup-tests ## The chart against a real Kubernetes API server
	@scripts/test-chart

test-soak: setup-tests ## The long proofs in full: every seed, every kill
	@source scripts/env && export FAULTLINE_SEEDS=10000 PROPTEST_CASES=2048 FAULTLINE_KAFKA_KILLS=40 FAULTLINE_KAFKA_STOPPED_SECONDS=60 \
	  FAULTLINE_KAFKA_STALLED_SECONDS=60 FAULTLINE_KAFKA_REBALANCE_SECONDS=180 FAULTLINE_KAFKA_ENDINGS=5 \
	  FAULTLINE_KAFKA_BROKER_KILLS=12 FAULTLINE_REPLAYED=1000000 && cargo test --workspace --release
	@source scripts/env && FAULTLINE_KILLS=500 integration-tests/run

bench: setup ## Measure; one JSON line each, with the machine and the ratio
	$(CARGO) run --release -p faultline-benches --bin avro
	$(CARGO) run --release -p faultline-benches --bin embedded

bench-kafka: ## Measure the host on Kafka against Kafka Streams and a bare client
	@scripts/setup tests peer
	$(CARGO) build --release -p faultline-benches
	@source scripts/env && benches/against-streams "$$(dirname "$$FAULTLINE")/kafka"

fmt: ## Format the code
	cargo fmt --all
