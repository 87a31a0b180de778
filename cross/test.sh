#!/usr/bin/env bash
# Runs suites of the gateway for another architecture, in qemu-user: `cross/test.sh ARCH [PACKAGE...]`, by default those of the codecs, the
# store and the pipeline. With the distribution's own Rust, debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:?architecture}
shift
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(common gateway-core gateway-modbus gateway-sparkplug gateway-store gateway-pipeline)
OFFLINE=1 cross/setup.sh "$wanted"
. "target/cross/env-$wanted.sh"
# Tests that start themselves again do it by way of the kernel, which must know the emulator, and that where the C library is.
. cross/apt.sh
foreign "$wanted"
export QEMU_LD_PREFIX=/usr/$gcc
# The emulator makes no pair of terminals (ENOSYS): what needs a serial line is shown by the boot test, over an emulated one.
exec "${CARGO:-cargo}" test "${cargo_flags[@]}" --locked --no-fail-fast --target "$triple" "${packages[@]/#/--package=}" -- --skip over_rtu
