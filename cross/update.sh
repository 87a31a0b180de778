#!/usr/bin/env bash
# Makes a signed bundle of the built gateway: `cross/update.sh ARCH KEY [--min-from VERSION]`, into target/cross/packages. Prints its
# path. The program that was built signs.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/product.sh
product twinway-gateway
arch=$1 key=$2
shift 2
. "target/cross/env-$arch.sh"
packages=${PACKAGES:-target/cross/packages}
mkdir -p "$packages"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cross/stage.sh "$name" "$arch" "$work/files"
# A link, and a bundle has none: the command line is the package's.
rm "$work/files/usr/lib/$name/twinway"
runner=()
runner_of=CARGO_TARGET_$(tr a-z- A-Z_ <<< "$triple")_RUNNER
[ -z "${!runner_of:-}" ] || read -ra runner <<< "${!runner_of}"
to=$packages/${name}_${version}_$arch.twup
"${runner[@]}" "$work/files/usr/bin/$name" update sign "$work/files" --key "$key" --to "$to" "$@" >&2
echo "$to"
