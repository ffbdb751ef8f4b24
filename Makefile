# The front door. `make run` and `make test` set up a clean Debian machine by themselves.

CARGO ?= cargo
export G_DEBUG ?= fatal-criticals

PREFIX ?= $(HOME)/.local
# Where GStreamer looks for the plugins of one user.
PLUGINS ?= $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/gstreamer-1.0/plugins
LIBRARIES := libgstscopediffusion.so libgstfalwebrtc.so libgstspout.so

.PHONY: release run install uninstall test fuzz test-windows test-windows-elements check-systems check setup setup-run setup-test bench gpu doc screenshots

## Set up what running needs, build, and serve the page (ARGS="--port 9000" passes options on)
run: release
	@exec target/release/gst-scope serve $(ARGS)

## Set up what running needs, and build it optimised
release: setup-run
	@echo "building gst-scope and the elements (minutes the first time, seconds after)"
	@$(CARGO) build --release --quiet -p scope-controller -p gst-plugin-scopediffusion -p gst-plugin-falwebrtc -p gst-plugin-spout

## Put the elements where every GStreamer program of this user finds them (OBS too), and gst-scope into PREFIX/bin
install: release
	@install -d "$(DESTDIR)$(PLUGINS)" "$(DESTDIR)$(PREFIX)/bin"
	@install -m 644 $(addprefix target/release/,$(LIBRARIES)) "$(DESTDIR)$(PLUGINS)"
	@install target/release/gst-scope "$(DESTDIR)$(PREFIX)/bin"
	@echo "install: elements in $(DESTDIR)$(PLUGINS), gst-scope in $(DESTDIR)$(PREFIX)/bin"

uninstall:
	@rm -f $(addprefix "$(DESTDIR)$(PLUGINS)"/,$(LIBRARIES)) "$(DESTDIR)$(PREFIX)/bin/gst-scope"

## Set up everything, build, and run every test
test: setup
	$(CARGO) build --workspace --all-targets
	$(CARGO) nextest run --workspace

## Build the Windows side and run its tests under wine; skipped, and said so, where that cannot be had
test-windows:
	@tests/windows
	@tests/windows-elements

## Of these the elements alone, in Windows' own gst-launch under wine; fetches 130 MB
test-windows-elements:
	@tests/windows-elements

## Lint the sharing plugin for Windows and its crate for macOS, too; skipped, and said so, where their compiler cannot be had
check-systems:
	@tests/systems

## `gst-scope model export` on small models of every kind, compared with torch; fetches torch, about 6 GB on disk
EXPORT_PYTHON ?= $(CURDIR)/target/export/bin/python
export-test:
	@[ -x "$(EXPORT_PYTHON)" ] || { python3 -m venv target/export && target/export/bin/python -m pip install -q -r plugins/scopediffusion/export/requirements.txt; }
	cd plugins/scopediffusion/export && $(EXPORT_PYTHON) test_export.py

## Damage model files of every kind at random, CASES times each (20000: minutes)
fuzz: setup-run
	PROPTEST_CASES=$(or $(CASES),20000) $(CARGO) test -q -p diffusion-engine --lib -- damage any_bytes

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
	@.setup/nextest

## Tests that need an NVIDIA GPU
gpu: setup-run
	@.setup/nextest
	.setup/onnxruntime cuda13
	$(CARGO) nextest run --workspace --run-ignored only -E 'test(/gpu/)'

## API documentation, links checked
doc: setup
	RUSTDOCFLAGS=-Dwarnings $(CARGO) doc --workspace --no-deps
