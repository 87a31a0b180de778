#!/usr/bin/env bash
# Makes a plain archive of built programs with a script that installs it: `cross/tar.sh PRODUCT ARCH`, into target/cross/packages.
# Prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/product.sh
product "$1"
packages=${PACKAGES:-target/cross/packages}
mkdir -p "$packages"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
full=$name-$version-$2
install -d "$work/$full"
cross/stage.sh "$name" "$2" "$work/$full/files"
sed "s#@NAME@#$name#g; s#@CONFIG_DIR@#$config_dir#g; s#@STATE_DIR@#$state_dir#g; s#@USER@#$user#g; s#@SERVICES@#$services#g" \
  cross/tar/install.sh > "$work/$full/install.sh"
chmod 755 "$work/$full/install.sh"
tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --format=gnu -c "$full" |
  xz -9 -T1 > "$packages/$full.tar.xz"
echo "$packages/$full.tar.xz"
