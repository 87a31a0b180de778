#!/usr/bin/env bash
# The package for arm64, built, made twice alike, and on an emulated box that boots; for CI: a build that is quick to make
# (PROFILE=quick), and the cloud of `make test`. As root.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/product.sh
product twinway-gateway
export PROFILE=${PROFILE:-quick} PROGRAMS=${PROGRAMS:-target/debug}
cannot() {
  echo "packages are NOT checked: $1" >&2
  # Where it was asked for that is a failure; else nobody's machine should have to be able to.
  [ "${FULL:-0}" = 1 ] && exit 1
  exit 0
}
# What is checked, though files change meanwhile.
checked=$(cross/changed.sh digest)
[ "$(id -u)" -eq 0 ] || cannot "a root file system is made as root"
command -v apt-get >/dev/null || cannot "this is no Debian"
cross/boot/setup.sh arm64
OFFLINE=1 cross/build.sh arm64 twinway-gateway
deb=$(cross/deb.sh twinway-gateway arm64)
cross/same.sh twinway-gateway arm64
cross/boot/test.py arm64 "$deb"
# To be committed.
echo "$checked" > cross/passed
