# Run `make` for the list of targets.

SHARED ?= ../shared
VENV := target/oracle-venv
PYTHON := $(VENV)/bin/python
# Set on the command line it is used as it is, and nothing is installed.
ORACLE_READY := $(if $(ORACLE_PYTHON),,$(VENV)/torch-ready)
ORACLE_PYTHON ?= $(PYTHON)

# The machine, in the words of the compiler, and of the names of its variables.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
HOST_VARIABLE = $(shell echo $(HOST) | tr a-z- A-Z_)

# Where the packages live that `make conformance` takes from npm, and its browser.
CLIENT_NODE := target/client-node
CHROMIUM ?= /usr/bin/chromium
SUDO = $(if $(filter 0,$(shell id -u)),,sudo)

# How long `make fuzz` searches each target.
FUZZ_SECONDS ?= 600

# Where the peers of `make bench` live, and what they have measured.
BENCH_VENV := target/bench-venv
BENCH_PEERS := target/bench/kmeans-peers.md

# Where the llama.cpp of `make bench-runtime` lives.
BENCH_NODE := target/bench-node

.PHONY: help check format lints test docs bless conformance evaluate browser oracle bench bench-peers bench-runtime fuzz fuzz-short sanitize sanitize-address sanitize-valgrind sanitize-thread

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

check: format lints test docs fuzz-short ## all that a commit passes: format, lints, tests, documentation, a little fuzzing

format:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

lints:
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target/fuzz --all-targets -- -D warnings

test: ## the tests
	cargo test --workspace

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

bless: ## rewrite the golden files from what the code does now; review the diff
	BLESS=1 cargo test --workspace

fuzz: ## search every fuzz target for $(FUZZ_SECONDS) seconds, 600 unless told (needs a C++ compiler)
	fuzz/run $(FUZZ_SECONDS)

fuzz-short: ## 20 seconds of each fuzz target, from the committed inputs
	fuzz/run 20

# The stable compiler has the library of AddressSanitizer, and with RUSTC_BOOTSTRAP it takes the flag. The target is named,
# so that build scripts and macros are not sanitized. Tests ask for more memory than there is: they must get null.
SANITIZED := cargo test --locked --target $(HOST) -p anelith-runtime

sanitize: sanitize-address sanitize-valgrind ## the runtime's tests under AddressSanitizer, the kernels' under valgrind (needs valgrind)

sanitize-address: ## the runtime's tests, and the programs of tests/mil, under AddressSanitizer
	@ls "$$(rustc --print target-libdir)"/librustc*asan* > /dev/null 2>&1 || { echo "error: no AddressSanitizer: expected librustc*asan* beside the standard library of $(HOST), which rustup installs for x86-64 and ARM with Linux or macOS" >&2; exit 1; }
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=allocator_may_return_null=1 $(SANITIZED) --target-dir target/sanitize/address --lib --test mil

# Valgrind runs one thread at a time, and without --fair-sched mostly the one that waits. The test that is left out has NaN
# in AVX2 code, which the compiler compares by vcmpeq_uqss; valgrind 3.19 takes that for a comparison that NaN fails.
sanitize-valgrind: ## the tests of kernels and fast plans under valgrind, with all instructions that it knows
	@command -v valgrind > /dev/null || { echo "error: no valgrind: install it, or run make sanitize-address alone" >&2; exit 1; }
	CARGO_TARGET_$(HOST_VARIABLE)_RUNNER="valgrind -q --error-exitcode=1 --fair-sched=yes" $(SANITIZED) --target-dir target/sanitize/valgrind --lib -- --test-threads=1 --skip extreme_activations kernels plan

# The standard library must be built for it too, or its locks look like races.
sanitize-thread: ## the kernels' tests under ThreadSanitizer (needs a nightly toolchain with rust-src)
	@ls "$$(rustc +nightly --print sysroot)"/lib/rustlib/src/rust/library/Cargo.lock > /dev/null 2>&1 || { echo "error: no source of the standard library: rustup toolchain install nightly --component rust-src" >&2; exit 1; }
	RUSTFLAGS=-Zsanitizer=thread $(subst cargo,cargo +nightly,$(SANITIZED)) -Zbuild-std --target-dir target/sanitize/thread --lib kernels

conformance: $(VENV)/ready $(CLIENT_NODE)/ready browser ## hold a release build against coremltools, recorded values, clients and a browser (needs $(SHARED), python3 with pip, node with npm, curl)
	cargo build --release
	SHARED=$(SHARED) $(PYTHON) conformance/run

evaluate: $(VENV)/ready ## how many of its questions the demo model answers right, with 4 bits and with fp16, through `anelith serve`
	cargo build --release
	SHARED=$(SHARED) $(PYTHON) conformance/run corpus

oracle: $(ORACLE_READY) ## hold random models of every family against transformers; writes docs/correctness.md (ORACLE_PYTHON=... to use an environment at hand)
	cargo build --release
	SHARED=$(SHARED) $(ORACLE_PYTHON) oracle/run

# Clients of `anelith serve` that others wrote, what drives a browser, and what looks for barriers in a page. No script
# has to run. After a change of this file too: it may name other versions.
$(CLIENT_NODE)/ready: Makefile
	mkdir -p $(CLIENT_NODE)
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix $(CLIENT_NODE) openai@6.49.0 playwright-core@1.65.1 axe-core@4.14.1
	touch $@

# Debian's, unless there is one, or CHROMIUM names another.
browser: ## the browser of `make conformance`: Chromium, installed by apt-get where it is missing
	@test -x "$(CHROMIUM)" || { $(SUDO) apt-get update && $(SUDO) apt-get install --yes --no-install-recommends chromium; }

# torch is large: only `oracle` needs it, in the same environment.
$(VENV)/torch-ready: $(VENV)/ready
	$(PYTHON) -m pip install --quiet torch==2.7.0 transformers==4.52.4
	touch $@

# What the oracles need, in an environment of their own.
# After a change of this file too: it may name more packages.
$(VENV)/ready: Makefile
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet coremltools==9.0 'numpy<2.3' huggingface_hub==0.36.0 openai==3.57.0
	touch $@

bench: ## measure conversions: time, memory, disk, k-means; writes docs/performance.md (some 10 minutes, 10 GB of disk)
	cargo build --release
	rm -rf target/criterion
	cargo bench -p anelith-convert --bench kmeans
	@mkdir -p target/bench && rm -f $(BENCH_PEERS)
	@if $(MAKE) -s $(BENCH_VENV)/ready 2> target/bench/peers.log; then $(MAKE) -s bench-peers; \
	else echo "skipped: k-means of others, which needs python3 with pip: target/bench/peers.log says why"; fi
	target/release/anelith-bench all --tokenizers $(SHARED)/data/tokenizers --document docs/performance.md --peers $(BENCH_PEERS)

# Under another name until it is whole.
bench-peers: $(BENCH_VENV)/ready
	cargo build --release -p anelith-convert --example palettize
	$(BENCH_VENV)/bin/python bench/kmeans_peers.py > $(BENCH_PEERS).partial
	mv $(BENCH_PEERS).partial $(BENCH_PEERS)

# The scikit-learn is the last one that coremltools 9.0 was tested with.
$(BENCH_VENV)/ready:
	python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet 'numpy<2.3' scikit-learn==1.5.1 kmeans1d==0.5.0 ckwrap==1.2.3
	touch $@

bench-runtime: ## measure how fast conversions run, beside llama.cpp; writes docs/performance.md (some 10 minutes, 7 GB of disk; 1 GB of downloads the first time)
	cargo build --release
	@mkdir -p target/bench
	@$(MAKE) -s $(BENCH_NODE)/ready 2> target/bench/node.log \
	|| echo "skipped: node-llama-cpp, which needs node with npm: target/bench/node.log says why"
	@$(MAKE) -s $(BENCH_VENV)/gguf-ready 2> target/bench/gguf.log \
	|| echo "skipped: gguf, which needs python3 with pip: target/bench/gguf.log says why"
	target/release/anelith-bench runtime --tokenizers $(SHARED)/data/tokenizers --llama-cpp $(SHARED)/bench/llama_cpp.mjs --document docs/performance.md

# llama.cpp comes built, in a package of its own: no script has to run.
$(BENCH_NODE)/ready:
	mkdir -p $(BENCH_NODE)
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix $(BENCH_NODE) node-llama-cpp@3
	touch $@

# For bench/make_gguf.py; the environment may hold the peers of `make bench` already.
$(BENCH_VENV)/gguf-ready:
	python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install --quiet 'numpy<2.3' gguf==0.19.0
	touch $@
