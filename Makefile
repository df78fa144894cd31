# `make demo` and `make test` need nothing but Rust on a Debian 12 machine: each installs what is missing first.
# The work is done by scripts/ and `cargo xtask`.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup build demo audit test lint bench clean

TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
# Walls are built by root.
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo --preserve-env,)
export BULKHEAD_RUNTIME_DIR := $(abspath $(TARGET)/runtime)
# What `make bench` measures: make bench BENCH="start action"
BENCH ?= start action memory

help:
	@echo 'make demo    show Bulkhead at work: actions, a sync, webhooks, refused attacks'
	@echo 'make audit   try to break out of every wall that there is here, with native controls'
	@echo 'make test    run every check'
	@echo 'make lint    lints, and licences of dependencies (compiles cargo-deny the first time)'
	@echo 'make bench   measure the targets of SPECIFICATION.md (BENCH="start action memory", walls, leaks, …)'
	@echo 'make build   build the binary ($(TARGET)/release/bulkhead) and the runtime image ($(TARGET)/runtime)'
	@echo 'make setup   install what is missing on this machine'
	@echo 'make clean   remove everything that was built or fetched'

setup:
	@scripts/setup.sh

build: setup
	@cargo xtask build

demo: build
	@$(SUDO) $(TARGET)/release/bulkhead demo

audit: build
	@$(SUDO) $(TARGET)/release/bulkhead audit

test: setup
	@scripts/test.sh

lint: setup
	@scripts/lint.sh --install

bench: build
	@scripts/setup.sh --bench
	@for name in $(BENCH); do $(SUDO) $(TARGET)/release/bulkhead bench $$name || exit 1; done

clean:
	@rm -rf $(TARGET) runtime/node/node_modules tests/s3/node_modules
