# provider-libvirt: what can be done with one command. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build check test e2e bless demo demo-down bench clean-cache

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/provider-libvirt
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# libvirt's system daemon is root's; the cache stays the caller's.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env "HOME=$(HOME)" "XDG_CACHE_HOME=$(or $(XDG_CACHE_HOME),$(HOME)/.cache)" "PATH=$(PATH)" "KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS)" "CARGO_TARGET_DIR=$(TARGET)")
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: ## install what is missing: packages, control plane programs, test guest (quick when nothing is)
	@tests/setup.sh

build: setup ## build everything
	cargo build --workspace

check: setup ## formatting, lints, documentation, dependency rules
	@tests/check.sh

test: setup ## every check and every test; the last line is the count
	@tests/run.sh

e2e: setup ## a real Crossplane installs the package and composes guests (part of make test)
	@tests/run.sh crossplane

bless: setup ## write generated files and golden files anew (BLESS=1)
	BLESS=1 cargo test --workspace --exclude tests

demo: build ## examples/quickstart on this machine's libvirt: a guest from YAML (leaves it running)
	@$(if $(AS_ROOT),echo "the demo runs by sudo")
	@$(AS_ROOT) $(TARGET)/debug/demo up

demo-down: ## take the demo away again
	@if [ ! -d "$(CACHE)/demo" ]; then echo "demo: nothing is there"; exit; fi; \
	[ -x "$(TARGET)/debug/demo" ] || cargo build -q --workspace && $(AS_ROOT) $(TARGET)/debug/demo down

bench: setup ## figures beside a plain loop over libvirt's C API; reports, never fails on a figure
	cargo build --release -p provider-libvirt
	PROVIDER_LIBVIRT_BIN=$(TARGET)/release/provider-libvirt cargo bench -p tests --bench provider

clean-cache: ## remove programs, guests and tools that were built or fetched
	@[ ! -d "$(CACHE)/demo" ] || { echo "the demo is up; run make demo-down first"; exit 1; }
	rm -rf "$(CACHE)/bin" "$(CACHE)/guest" "$(CACHE)/go" "$(CACHE)/cargo-deny"
