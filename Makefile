# The two commands of the README are `make run` and `make test`; the rest is for developers.
# Nothing here needs more than Rust, Node 20 and a C compiler; what tests need beyond that is installed
# from the distribution by tests/setup, which says so.

CARGO ?= cargo
ARGS ?=

SEEDS ?= 20
SEED ?=
FROM ?= 1
JOBS ?= 2

# Architecture of packages: amd64, arm64, armhf.
ARCH ?= arm64
PRODUCT ?= twinway-gateway
# For `image`: the package, by default the one made last; a file of public keys that may sign in.
DEB ?= $(shell ls -t target/cross/packages/twinway-gateway_*_$(ARCH).deb 2>/dev/null | head -n1)
SSH_KEY ?=

TABLE := gateway/opcua-namespace/table/Cargo.toml

# Private key that signs bundles of updates.
KEY ?= update.key

.PHONY: run build test lint deny advisories bench faults web-check e2e setup screenshots clean cross deb tar update same elsewhere boot-test guide-test \
	rpm image image-test scratch-test features cross-check cross-test packages-check namespace-table

# The demo: a simulated coating line, its gateway and its cloud, with a page to open.
run:
	$(CARGO) build --profile quick --locked -p demo -p twinway
	$(CARGO) run --profile quick --locked -q -p demo -- $(ARGS)

# The three programs, for use.
build:
	$(CARGO) build --release --locked -p twinway-gateway -p twinway-cloud -p twinway

# Everything that must hold on main.
test: setup lint deny web-check
	$(CARGO) build --locked --workspace --bins
	CARGO="$(CARGO)" cross/check.sh
	$(CARGO) test --locked --workspace
	CARGO_TARGET_DIR=target $(CARGO) test --locked --manifest-path $(TABLE)
	tests/e2e.sh
	$(MAKE) packages-check

# What a test needs from the distribution: Chromium, PostgreSQL, other people's MQTT and Modbus clients.
setup:
	tests/setup.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# The gateway without any of its features, and with each alone.
features:
	CARGO="$(CARGO)" tests/features.sh

# Makes the table of the OPC UA standard's nodes anew.
namespace-table:
	CARGO_TARGET_DIR=target $(CARGO) run --locked --manifest-path $(TABLE)

web-check:
	cd cloud/web && npm ci --no-audit --no-fund && npm run check && npm test

# Licences, bans and sources of the dependency tree.
deny:
	tests/tool.sh cargo-deny
	target/tools/bin/cargo-deny --locked check bans licenses sources

# Known vulnerabilities: fetches the advisory database.
advisories:
	tests/tool.sh cargo-deny
	target/tools/bin/cargo-deny check advisories

# Figures: `make bench`, or one group with `make bench ONLY=loop`; `soak` (100 minutes) only so. One JSON line each on standard output.
bench:
	$(CARGO) build --release --locked --workspace --bins
	$(CARGO) run --release --locked -p tests --bin bench -- $(ONLY)

# The fault harness over SEEDS seeds from FROM on, JOBS at a time; or one again, `make faults SEED=1234`. Release programs.
faults:
	$(CARGO) build --release --locked -p twinway-gateway -p twinway-cloud -p tests --bins
	target/release/faults $(if $(SEED),--seed $(SEED),--from $(FROM) --seeds $(SEEDS)) --jobs $(JOBS)

# The gateway and the command line for another architecture. `OFFLINE=1`: with the distribution's own Rust, also where rustup
# has the target.
cross:
	cross/build.sh $(ARCH) $(PRODUCT) $(if $(filter twinway-cloud,$(PRODUCT)),twinway)

# Packages of what `cross` built, into target/cross/packages.
deb: cross
	cross/deb.sh $(PRODUCT) $(ARCH)

tar: cross
	cross/tar.sh $(PRODUCT) $(ARCH)

rpm: cross
	cross/rpm.sh $(PRODUCT) $(ARCH)

# A signed bundle for `twinway-gateway update install`; `KEY=` names the private key.
update: cross
	cross/update.sh $(ARCH) $(KEY)

# An image for the SD card or eMMC of a box, into target/cross/image: of the distribution's packages and the gateway's. As root.
image:
	SSH_KEY="$(SSH_KEY)" cross/image.sh $(ARCH) $(or $(DEB),$(error no package for $(ARCH): make deb ARCH=$(ARCH) first, or name one in DEB))

# The image on two emulated boxes that start from it.
image-test:
	cross/boot/setup.sh $(ARCH) emulator
	cross/image/test.py $(ARCH) target/cross/image/$(notdir $(DEB:.deb=.img)) $(DEB)

# The same programs give the same packages, byte for byte.
same: cross
	cross/same.sh $(PRODUCT) $(ARCH)

# The same commit gives the same packages in another checkout as well: a second build, under other paths. `PROFILE=quick` is quick.
elsewhere:
	cross/elsewhere.sh $(PRODUCT) $(ARCH)

# Packages of this machine's architecture, installed into a scratch root, run, upgraded and removed. As root, where the boot test's root
# file system is (cross/boot/setup.sh).
scratch-test:
	cross/scratch.sh target/cross/packages/*$(ARCH)* $(wildcard target/cross/packages/*.$(shell uname -m).rpm)

# Whether the gateway compiles for arm64 and armhf; `make test` looks as well.
cross-check:
	cross/check.sh

# The package for arm64 on a box that boots, where packaging changed since it last passed, or with `FULL=1`; `make test` looks as well. As
# root. What passed is written into cross/passed: commit it with the change.
packages-check:
	if cross/changed.sh; then cross/packages-check.sh; fi

# The gateway's suites of codecs, store and pipeline for another architecture, emulated.
cross-test:
	cross/test.sh $(ARCH)

# The package on an emulated box that boots (arm64 or amd64), with a cloud on this machine. As root: it makes a root file system.
boot-test: deb
	$(CARGO) build --release --locked -p twinway-cloud -p twinway
	cross/boot/setup.sh $(ARCH)
	cross/boot/test.py $(ARCH) "$$(ls -t target/cross/packages/twinway-gateway_*_$(ARCH).deb | head -n1)"

# The installer's guide, typed step by step on such a box.
guide-test: deb
	$(CARGO) build --release --locked -p twinway-cloud -p twinway
	cross/boot/setup.sh $(ARCH)
	cross/boot/guide.py $(ARCH) "$$(ls -t target/cross/packages/twinway-gateway_*_$(ARCH).deb | head -n1)"

screenshots:
	tests/e2e.sh --screenshots docs/images

clean:
	$(CARGO) clean
