#!/usr/bin/env bash
# Runs suites of the gateway for another architecture, in qemu-user: `cross/test.sh ARCH [PACKAGE...]`, by default those of the codecs, the
# store and the pipeline, and of the broker, the adapters and OPC UA what needs no network (their own tests: codecs, settings, journal). With
# the distribution's own Rust, debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:?architecture}
shift
OFFLINE=1 cross/setup.sh "$wanted"
. "target/cross/env-$wanted.sh"
# Tests that start themselves again do it by way of the kernel, which must know the emulator, and that where the C library is.
. cross/apt.sh
foreign "$wanted"
export QEMU_LD_PREFIX=/usr/$gcc
# The emulator makes no pair of terminals (ENOSYS): what needs a serial line is shown by the boot test, over an emulated one.
suites() { "${CARGO:-cargo}" test "${cargo_flags[@]}" --locked --no-fail-fast --target "$triple" "$@" -- --skip over_rtu; }
status=0
if [ $# -gt 0 ]; then
  suites "${@/#/--package=}" || status=1
else
  whole=(common gateway-core gateway-modbus gateway-sparkplug gateway-store gateway-pipeline)
  suites "${whole[@]/#/--package=}" || status=1
  own=(gateway-broker gateway-adapters gateway-opcua)
  suites --lib "${own[@]/#/--package=}" || status=1
fi
exit "$status"
