# make demo, make test: everything from a fresh clone. Needs Rust (cargo) and Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs')
DEMO ?= pdiff-demo
TARGETS ?= x86_64-unknown-linux-gnu
# A Python with the packages of the extra `torch`, which the trial of the wheel may use instead of its own download.
TORCH ?=
# pip shows its progress on a terminal only.
QUIET := $(shell test -t 2 || echo --quiet)
# How many processes share the Python tests.
WORKERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, len(os.sched_getaffinity(0))))')

.PHONY: setup rust demo test test-rust test-python lint lint-rust lint-python wheel sanitize bench quality clean

setup: $(STAMP)

rust:
	@command -v cargo >/dev/null || { echo "Rust is missing: cargo is not on the PATH (https://rustup.rs)"; exit 1; }

$(STAMP): pyproject.toml $(RUST) | rust
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 or newer is missing: set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV), 1 of 2: packages are downloaded, some 6 GB the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(QUIET) --upgrade "pip>=25.1"
	$(BIN)/python -m pip install $(QUIET) --group dev
	@echo "Setting up $(VENV), 2 of 2: the Rust half is built, which takes minutes the first time"
	$(BIN)/python -m pip install $(QUIET) --editable ".[torch,vision]"
	@touch $@

demo: setup
	$(BIN)/pdiff demo --out $(DEMO) --overwrite

# The Rust tests are compiled while packages are downloaded.
test:
	@$(MAKE) --no-print-directory --jobs=2 setup test-rust
	@$(MAKE) --no-print-directory test-python

test-rust: | rust
	cargo test --quiet

# Each process takes the next tests in their order, so that the tests of a file mostly share its fixtures. Hundreds
# of processes import the package: its bytecode is written whatever the environment says.
test-python: export PYTHONDONTWRITEBYTECODE =
test-python: setup
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=worksteal

lint: setup lint-rust lint-python

lint-rust: | rust
	cargo fmt --check
	rustfmt --check --edition 2024 fuzz/fuzzing.rs fuzz/fuzz_targets/*.rs
	cargo clippy --quiet --all-targets -- -D warnings
	cargo clippy --quiet --all-targets --features python -- -D warnings

lint-python: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --mypy-config-file .ci/stubtest.ini pdiff._core
	$(BIN)/lint-imports

# The source distribution and a wheel for each of TARGETS in dist/, cross-built by zig for any glibc from 2.28 on (musl:
# 1.2); then the wheel of this machine does its work in an environment of its own, where there is no Rust. TARGETS of
# other machines: aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-unknown-linux-musl.
wheel: setup
	$(BIN)/python -m pip install --quiet ziglang
	rm -rf dist
	$(BIN)/maturin sdist --out dist
	for target in $(TARGETS); do \
		command -v rustup >/dev/null && rustup target add $$target; \
		case $$target in *musl) tag=musllinux_1_2;; *) tag=manylinux_2_28;; esac; \
		PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --zig --compatibility $$tag --target $$target \
			--interpreter python3.11 --out dist || exit 1; \
	done
	PYTHON=$(abspath $(BIN)/python) TORCH=$(TORCH) .ci/try-wheel dist/*-manylinux_2_28_$$(uname -m).whl

# The Rust tests under the sanitizers of a nightly Rust; several minutes, most of them compiling.
sanitize:
	@command -v rustup >/dev/null && rustup toolchain list | grep -q '^nightly' \
		|| { echo "skipped: no nightly Rust (rustup toolchain install nightly --component rust-src)"; exit 0; }; \
	set -e; \
	host=$$(rustc +nightly -vV | sed -n 's/^host: //p'); \
	run() { sanitizer=$$1; shift; RUSTFLAGS=-Zsanitizer=$$sanitizer cargo +nightly test --lib --quiet "$$@" \
		--target "$$host" --target-dir target/sanitize/$$sanitizer; }; \
	echo "addresses and leaks"; run address; \
	if test -d "$$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library"; \
		then echo "threads"; run thread -Zbuild-std; \
		else echo "threads: skipped, no rust-src (rustup component add rust-src --toolchain nightly)"; fi

bench: setup
	$(BIN)/python benches/bench_files.py
	$(BIN)/python benches/bench_bank.py
	$(BIN)/python benches/bench_collect.py
	$(BIN)/python benches/bench_average.py
	$(BIN)/python benches/bench_algebra.py
	$(BIN)/python benches/bench_evaluate.py
	$(BIN)/python benches/bench_bootstrap.py

quality: setup
	$(BIN)/python benches/quality.py

clean:
	rm -rf target dist $(VENV) $(DEMO)
