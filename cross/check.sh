#!/usr/bin/env bash
# Whether the gateway and the command line compile for other architectures: `cross/check.sh [ARCH...]`, by default arm64 and armhf. With
# the distribution's own Rust; nothing is linked and nothing runs.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- arm64 armhf
for wanted; do
  OFFLINE=1 cross/setup.sh "$wanted"
  (
    . "target/cross/env-$wanted.sh"
    "${CARGO:-cargo}" check "${cargo_flags[@]}" --locked --target "$triple" --package twinway-gateway
  )
done
