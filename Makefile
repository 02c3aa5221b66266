# Two commands matter to a newcomer: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
KERNEL := $(wildcard shared/*/*.pyx shared/*/*.pxd shared/*/*.pxi)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help dev demo test check unit test-long fuzz soak links test-durability chaos bench bench-link bench-serial boards deb device elsewhere wheel clean

help:                 ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

.venv/.made:
	@sh .ci/prerequisites $(PYTHON)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

.venv/.installed: .venv/.made pyproject.toml setup.py $(KERNEL)
	@echo "phloem: installing and compiling the kernel (a minute or two the first time)"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

dev: .venv/.installed ## set up .venv with everything, compile the kernel

demo: dev             ## an edge, a hub, a link that is cut in between, and nothing is lost; ARGS="--for 1m"
	@$(BIN)/phloem demo $(ARGS)

test: check unit      ## what a change has to pass: style, types, layers, all fast tests

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: dev
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not soak and not slow" $(ARGS) tests

test-long: dev        ## what make test leaves out: a wheel, sanitizers, large sizes, all examples; 3 min
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "slow or hypothesis" --hypothesis-profile long $(ARGS) tests

fuzz: dev             ## everything compiled under AddressSanitizer and UBSan; ARGS="--target store --seconds 600", ARGS=--help
	$(BIN)/python -m tests.fuzz.run $(ARGS)

soak: dev             ## hours of load, cuts and churn; ARGS="--for 2h"
	$(BIN)/python -m pytest -m soak -s $(ARGS) tests/soak

links: dev            ## JetStream over leaf links in every pairing with nats-server, the long kinds; ARGS="--cuts 50"
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS) -m "soak or not soak" -k "js_" tests/interop

test-durability: dev  ## thousands of power cuts, and kills under load; ARGS="--cuts 20000 --kills 1000"
	@$(BIN)/python -m tests.durability $(ARGS)

chaos: dev            ## edges and hubs to which everything happens, simulated and real; ARGS="--seed 7 --stories 20"
	@$(BIN)/python -m tests.chaos $(ARGS)

bench: dev            ## the table of ratios beside nats-server
	$(BIN)/python -m tests.bench $(ARGS)

bench-link: dev       ## what a link costs, a device and its hub beside nats-server's; ARGS="--quick --only memory"
	$(BIN)/python -m tests.bench_link $(ARGS)

bench-serial: dev     ## eight serial ports at full speed on one core, into a durable stream; ARGS="--only csv"
	$(BIN)/python -m tests.bench_serial $(ARGS)

boards:               ## EdgeLink's C on microcontrollers: flash and RAM, the same bytes as here; needs cross compilers
	@firmware_bridge/boards/c/elsewhere
	@firmware_bridge/boards/c/sizes

deb: dev              ## a Debian package with all libraries into dist/; ARGS="--arch armhf", arm64, all: for other machines
	@$(BIN)/python systemd/debian/build.py $(ARGS)

device: dev           ## an emulated device whose plug is pulled, nats-server beside it; root; ARGS="--scenario usb"
	@$(BIN)/python systemd/debian/build.py
	@$(BIN)/python -m tests.device --package $$(ls -t dist/phloem_*_$$(dpkg --print-architecture).deb | head -1) $(ARGS)

elsewhere: dev        ## a package and the tests under qemu-user; root, 40 min; ARGS="--package dist/phloem_0.4.0_armhf.deb"
	@$(BIN)/python -m tests.elsewhere $(ARGS)

wheel: dev            ## build a wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:                ## remove everything that can be built again
	rm -rf .venv build dist *.egg-info .src/*.egg-info shared/*/*.c shared/*/*.so
