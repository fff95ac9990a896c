# Lethe. `make run` shows it, `make test` tests it; both install what they need on Debian.
#
# One profile (release) for everything, and a target directory outside the checkout, so that RocksDB
# is compiled once however often the tree is cloned.

SHELL := /bin/bash
.DEFAULT_GOAL := help
CACHE := $(HOME)/.cache/lethe
export CARGO_TARGET_DIR ?= $(if $(LETHE_TARGET_DIR),$(LETHE_TARGET_DIR),$(CACHE)/target)
TOOLS := $(CACHE)/tools
DENY_VERSION := 0.18.9
CARGO_DENY := $(TOOLS)/bin/cargo-deny
CARGO := cargo

.PHONY: help run rehearsal test ring bench smoke cost instructions proof fmt lint doc deny ci build packages s3-server

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

packages:
	@scripts/install-packages

s3-server: packages
	@scripts/install-s3-server

build: packages ## the program
	$(CARGO) build --release --locked

run: build ## a server with demo keys and data, and a tour through it
	scripts/tour

rehearsal: build ## seven years of retention, holds, an end and a restore, as docs/rehearsal.md tells them
	scripts/rehearsal

test: packages s3-server ## all tests, within ten minutes once built
	$(CARGO) test --release --locked

# The features of Lethe alone change: RocksDB and all other dependencies are those of the other builds.
ring: packages ## the build that seals with ring: lints, the tests of all that seals and opens, and the search for keys in a server's memory
	$(CARGO) clippy --release --locked --features ring --lib -- -D warnings
	$(CARGO) test --release --locked --features ring --lib --test siege -- vault::crypto:: memory::

proof: packages s3-server ## the long proofs: every nested crash schedule of depth two, 10,000 of depth three, 300 killed servers, 600 models, every step of a recovery, values over a GiB
	LETHE_PROOF=1 $(CARGO) test --release --locked closure -- --nocapture
	LETHE_PROOF=1 $(CARGO) test --release --locked --test proofs --test disaster -- --nocapture
	LETHE_PROOF=1 $(CARGO) test --release --locked --test api races -- --nocapture
	LETHE_PROOF=1 $(CARGO) test --release --locked --test siege bounded -- --nocapture
	LETHE_KILLS=$${LETHE_KILLS:-300} $(CARGO) test --release --locked --test siege kill -- --nocapture

bench: packages ## the benchmarks; writes docs/performance.md and docs/performance/micro.md (LETHE_BENCH_SCALE: quick, standard, full)
	mkdir -p $(CARGO_TARGET_DIR) && touch $(CARGO_TARGET_DIR)/bench-began
	$(CARGO) bench --profile release --locked --bench micro --bench store --bench shred --bench subject --bench backup
	$(CARGO) bench --profile release --locked --bench retention -- --scale $${LETHE_BENCH_SCALE:-full}
	scripts/criterion-table $(CARGO_TARGET_DIR)/bench-began >$(CARGO_TARGET_DIR)/micro.md && mv $(CARGO_TARGET_DIR)/micro.md docs/performance/micro.md
	$(CARGO) bench --profile release --locked --bench http -- --scale $${LETHE_BENCH_SCALE:-full} --write docs

smoke: packages ## whether the benchmark of HTTP still works: some of its rows, tiny, wherever stores may lie
	$(CARGO) bench --profile release --locked --bench http -- --scale smoke --only list,import,tls --dir $${TMPDIR:-/tmp}

cost: packages ## what one shred costs, held against its bounds, in a smaller tree of the same height
	LETHE_BENCH_UNITS=5000 $(CARGO) bench --profile release --locked --bench shred -- --warm-up-time 0.5 --measurement-time 3

instructions: ## instructions of a GET, from memory and from a file, and a PUT, held against the committed figures
	@scripts/install-packages valgrind
	scripts/instructions

fmt: ## format the code
	$(CARGO) fmt

lint: packages ## formatting and clippy, warnings refused
	$(CARGO) fmt --check
	$(CARGO) clippy --release --locked --all-targets -- -D warnings

doc: packages ## the documentation of the code, warnings refused
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --locked --no-deps --document-private-items

deny: $(CARGO_DENY) ## licences, sources and bans of the dependency tree
	$(CARGO_DENY) --locked check bans licenses sources

$(CARGO_DENY):
	CARGO_TARGET_DIR=$(CACHE)/target-tools $(CARGO) install cargo-deny --version $(DENY_VERSION) --locked --root $(TOOLS)

ci: ## everything before a merge
	.ci/run
