#!/usr/bin/env bash
# The same programs give the same packages: makes each twice, under another umask, time zone and language, and compares. `cross/same.sh
# PRODUCT ARCH`.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for kind in deb tar rpm; do
  first=$(PACKAGES=$work/1 "cross/$kind.sh" "$1" "$2")
  second=$(umask 077; TZ=Asia/Tokyo LC_ALL=C PACKAGES=$work/2 "cross/$kind.sh" "$1" "$2")
  cmp "$first" "$second"
  sha256sum "$first" | sed "s#$work/1/##"
done
