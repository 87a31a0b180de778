#!/usr/bin/env bash
# Whether the gateway compiles for other architectures: `cross/check.sh [ARCH...]`, by default arm64 and armhf. With what rustup has for
# them, else (and with OFFLINE=1) with the distribution's own Rust; nothing is linked and nothing runs.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- arm64 armhf
for wanted; do
  OFFLINE=${OFFLINE:-0} cross/setup.sh "$wanted"
  (
    . "target/cross/env-$wanted.sh"
    if [ -z "${RUSTC:-}" ]; then
      # This machine's compiler: macros and build scripts that it made already need not be made again.
      export CARGO_TARGET_DIR=$PWD/target
    else
      # One that builds its library as well needs this, and macros would be made again for the other's sake.
      export RUSTC_BOOTSTRAP=1
    fi
    "${CARGO:-cargo}" check "${cargo_flags[@]}" --quiet --locked --target "$triple" --package twinway-gateway
  )
done
