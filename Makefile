SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
CARGO := source scripts/env && cargo

.DEFAULT_GOAL := help
.PHONY: help setup build test lint fmt

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Install what is missing, saying what and why
	@scripts/setup

build: setup ## Build everything
	$(CARGO) build --workspace --release

lint: setup ## Formatting and lints, as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --release -- -D warnings

test: lint ## Everything that must hold
	$(CARGO) test --workspace --release

fmt: ## Format the code
	cargo fmt --all
