# The front door. `make run` and `make test` set up a clean Debian machine by themselves.

CARGO ?= cargo
export G_DEBUG ?= fatal-criticals

.PHONY: run test test-windows test-windows-elements check setup setup-run setup-test bench gpu doc screenshots

## Set up what running needs, build, and serve the page (ARGS="--port 9000" passes options on)
run: setup-run
	@echo "run: building gst-scope (minutes the first time, seconds after)"
	@$(CARGO) build --release --quiet -p scope-controller -p gst-plugin-scopediffusion -p gst-plugin-falwebrtc -p gst-plugin-spout
	@exec target/release/gst-scope serve $(ARGS)

## Set up everything, build, and run every test
test: setup
	$(CARGO) build --workspace --all-targets
	@if $(CARGO) nextest --version >/dev/null 2>&1; then $(CARGO) nextest run --workspace; else $(CARGO) test --workspace -- --test-threads=1; fi

## Build the Windows side and run its tests under wine; skipped, and said so, where that cannot be had
test-windows:
	@tests/windows

## The elements themselves, in Windows' own gst-launch under wine; fetches 110 MB
test-windows-elements:
	@tests/windows-elements

## What every commit passes: format, lints, spelling, licences
check: setup
	@.setup/checkers
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	.venv/bin/typos
	$(CARGO) test -q -p scope-tests --test it licences

## Everything run, test and check need (also done by each of them)
setup: setup-run setup-test

setup-run:
	@.setup/system build run
	@.setup/onnxruntime cpu

setup-test:
	@.setup/system test
	@.setup/peers

## Tests that need an NVIDIA GPU
gpu: setup-run
	.setup/onnxruntime cuda13
	$(CARGO) nextest run --workspace --run-ignored only -E 'test(/gpu/)'

## API documentation, links checked
doc: setup
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps
