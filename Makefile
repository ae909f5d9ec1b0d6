# provider-libvirt: what can be done with one command. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build check test e2e bless xpkg push demo demo-down bench clean-cache

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/provider-libvirt
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# Said on the command line only: the environment may have a VERSION of something else.
VERSION = $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
OUT = $(TARGET)/provider-libvirt-$(VERSION).xpkg
# Where a clone, its crates and the compiler lie is no part of the program: two clones make the same one. A later prefix goes first.
REMAP = "$(CURDIR)=/src" "$(TARGET)=/target" "$(or $(CARGO_HOME),$(HOME)/.cargo)=/cargo" \
	"$(shell rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(shell rustc -vV | sed -n 's/^commit-hash: //p')"
# libvirt's system daemon is root's; the cache stays the caller's.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo env "HOME=$(HOME)" "XDG_CACHE_HOME=$(or $(XDG_CACHE_HOME),$(HOME)/.cache)" "PATH=$(PATH)" "KUBEBUILDER_ASSETS=$(KUBEBUILDER_ASSETS)" "CARGO_TARGET_DIR=$(TARGET)")
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/sbin:/sbin

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

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

xpkg: ## the Crossplane package, as an image to push or to load into Docker (OUT=file, VERSION=x.y.z)
	@echo "$(VERSION)" | grep -Eqx '[0-9]+\.[0-9]+\.[0-9]+([-.][0-9A-Za-z.-]+)?' || { echo 'xpkg: VERSION is written as 1.2.3 or 1.2.3-rc.1, without a v'; exit 1; }
	@pkg-config --exists libvirt && command -v dpkg-deb >/dev/null || { echo "xpkg: on Debian or Ubuntu, install gcc pkg-config libvirt-dev"; exit 1; }
	@echo "xpkg: compiling the provider for release; several minutes the first time"
	@flags=$$(printf -- '--remap-path-prefix=%s\037' $(REMAP)) && env -u RUSTFLAGS CARGO_ENCODED_RUSTFLAGS="$${flags%?}" \
		cargo build --release --locked -p provider-libvirt --target-dir "$(TARGET)/xpkg"
	@XPKG_CACHE="$(CACHE)/image" cargo run --quiet --locked -p package -- build \
		--program "$(TARGET)/xpkg/release/provider-libvirt" --package-version "$(VERSION)" --out "$(OUT)"

push: ## push the package to a registry: make push REF=registry.example.org/team/provider-libvirt:v0.1.0
	@[ -n "$(REF)" ] || { echo "push: say where: make push REF=registry.example.org/team/provider-libvirt:v$(VERSION)"; exit 1; }
	@[ -f "$(OUT)" ] || { echo "push: $(OUT) is not there; run make xpkg first"; exit 1; }
	@cargo run --quiet --locked -p package -- push "$(REF)" "$(OUT)"

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
	rm -rf "$(CACHE)/bin" "$(CACHE)/guest" "$(CACHE)/go" "$(CACHE)/cargo-deny" "$(CACHE)/image" "$(CACHE)/debian" "$(CACHE)/storagehost"
