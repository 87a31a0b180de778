#!/usr/bin/env bash
# Makes a Debian package of built programs: `cross/deb.sh PRODUCT ARCH`, into target/cross/packages. Prints its path.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/product.sh
. cross/arch.sh
. cross/libc.sh
product "$1"
arch "$2"
. "target/cross/env-$2.sh"
packages=${PACKAGES:-target/cross/packages}
mkdir -p "$packages"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"
cross/stage.sh "$name" "$2" "$root"

libc_needs "$gcc-objdump" "$root/usr/bin/$name" "$root/usr/lib/$name/twinway"
[ -z "$relr" ] || libc=$(printf '%s\n' "$libc" 2.36 | sort -V | tail -n1)

control=$root/DEBIAN
install -d "$control"
cat > "$control/control" <<END
Package: $name
Version: $version
Architecture: $deb
Maintainer: Twinway <packages@twinway.invalid>
Installed-Size: $(find "$root" -type f ! -path '*/DEBIAN/*' -printf '%s\n' | awk '{ k += int(($1 + 1023) / 1024) } END { print k }')
Depends: libc6 (>= $libc), libgcc-s1, systemd (>= 250), init-system-helpers (>= 1.60), passwd${recommends:+
Recommends: $recommends}
Section: net
Priority: optional
Description: $summary
 Made of the sources at commit $(git describe --always --dirty --abbrev=12). What it is made of, with licences:
 /usr/share/doc/$name.
END
echo "$config_dir/$config" > "$control/conffiles"
for script in postinst prerm postrm; do
  sed "s#@NAME@#$name#g; s#@CONFIG_DIR@#$config_dir#g; s#@STATE_DIR@#$state_dir#g; s#@USER@#$user#g; s#@RUN@#$user#g; s#@SERVICES@#$services#g" \
    "cross/deb/$script" > "$control/$script"
  chmod 755 "$control/$script"
done
(cd "$root" && find . -type f ! -path './DEBIAN/*' -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' md5sum) > "$control/md5sums"
chmod 644 "$control/control" "$control/conffiles" "$control/md5sums"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
# Packed here: dpkg-deb has no filter for machine code, which takes off an eighth. Reading knows them all since xz 5.4 (Debian 12). One
# thread: with several, xz cuts blocks by what the machine has.
dpkg-deb --root-owner-group -Znone -b "$root" "$work/plain.deb" >/dev/null
(cd "$work" && ar x plain.deb)
xz -T1 -9 "$work/control.tar"
# shellcheck disable=SC2086 # several arguments
xz -T1 $code "$work/data.tar"
file=$packages/${name}_${version}_$deb.deb
rm -f "$file"
(cd "$work" && ar qcDS made.deb debian-binary control.tar.xz data.tar.xz)
mv "$work/made.deb" "$file"
echo "$file"
