#!/usr/bin/env bash
# Whether the package has to be built and booted again: with FULL=1, or when what makes it is not what it was when that last passed
# (cross/passed, which is committed). Says why; status 1 if not. `cross/changed.sh digest` prints what is compared.
set -euo pipefail
cd "$(dirname "$0")/.."
# The packaging, the units, what a box is given, and how the gateway starts, is watched and updated.
made_of=(
  cross systemd config/box gateway/update
  gateway/daemon/src/{main,gateway,wiring,starting,starts,systemd,last_good,versions,update}.rs
)
# As the files are now, committed or not.
digest() {
  git ls-files -z --cached --others --exclude-standard -- "${made_of[@]}" ':!cross/passed' ':!cross/changed.sh' |
    LC_ALL=C sort -zu | xargs -0 sha256sum -- | sha256sum | cut -d' ' -f1
}
now=$(digest)
if [ "${1:-}" = digest ]; then
  echo "$now"
  exit 0
fi
if [ "${FULL:-0}" = 1 ]; then
  echo "packages: FULL=1" >&2
  exit 0
fi
[ "$(cat cross/passed 2>/dev/null || true)" != "$now" ] || exit 1
echo "packages: what makes them changed since they last passed (cross/passed)" >&2
