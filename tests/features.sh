#!/usr/bin/env bash
# The gateway compiles without any of its features, and with each alone: what one needs of another shows only so. Checked, not
# built; in target, where what they share is checked once.
set -euo pipefail
cd "$(dirname "$0")/.."
features=$(sed -n '/^\[features\]/,/^\[/s/^\([a-z][a-z-]*\) = .*/\1/p' gateway/daemon/Cargo.toml | grep -vx default)
[ -n "$features" ] || { echo "no features found in gateway/daemon/Cargo.toml" >&2; exit 1; }
for feature in "" $features; do
  echo "twinway-gateway with ${feature:-no feature}"
  ${CARGO:-cargo} check --quiet --locked -p twinway-gateway --no-default-features ${feature:+--features "$feature"}
done
