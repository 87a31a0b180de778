#!/usr/bin/env bash
# Makes an RPM package of built programs: `cross/rpm.sh PRODUCT ARCH`, into target/cross/packages. Prints its path. Of the same folder as
# the others (cross/stage.sh); what differs is where zsh looks, and the scripts, as RPM has no alternatives of its own and no purge.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/product.sh
. cross/arch.sh
. cross/apt.sh
. cross/libc.sh
product "$1"
arch "$2"
[ -n "$rpm" ] || { echo "no RPM for $2" >&2; exit 2; }
command -v rpmbuild >/dev/null || apt_install rpm
. "target/cross/env-$2.sh"
packages=${PACKAGES:-target/cross/packages}
mkdir -p "$packages"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
cross/stage.sh "$name" "$2" "$root"
mv "$root/usr/share/zsh/vendor-completions" "$root/usr/share/zsh/site-functions"
touch -d "@$SOURCE_DATE_EPOCH" "$root/usr/share/zsh"

libc_needs "$gcc-objdump" "$root/usr/bin/$name" "$root/usr/lib/$name/twinway"
bits='(64bit)'
[ "$rpm" != armv7hl ] || bits=

script() {
  echo "%$1"
  sed "s#@NAME@#$name#g; s#@SERVICES@#$services#g" "cross/rpm/$1"
}
{
  cat <<END
Name: $name
Version: $version
Release: 1
Summary: $summary
License: Apache-2.0
URL: https://twinway.invalid
Requires: libc.so.6(GLIBC_$libc)$bits${relr:+
Requires: libc.so.6($relr)$bits}
Requires: systemd >= 250${recommends:+
Recommends: $recommends}
AutoReqProv: no
%description
Made of the sources at commit $(git describe --always --dirty --abbrev=12). What it is made of, with licences: /usr/share/doc/$name.
END
  echo "%install"
  echo "mkdir -p %{buildroot} && cp -a $root/. %{buildroot}/"
  script post
  script preun
  script postun
  echo "%files"
  # Folders of the distribution belong to the distribution.
  for dir in "/usr/lib/$name" "/usr/share/doc/$name" "/usr/share/doc/$name/examples" "$config_dir" "$config_dir/conf.d" \
    /usr/lib/systemd/system/systemd-time-wait-sync.service.d; do
    [ ! -d "$root$dir" ] || echo "%dir %attr(755,root,root) $dir"
  done
  (cd "$root" && find . \( -type f -o -type l \) -printf '/%P\n' | LC_ALL=C sort) | while read -r file; do
    case "$file" in
      "$config_dir"/*) echo "%config(noreplace) %attr(644,root,root) $file" ;;
      *) echo "%attr($(stat -c %a "$root$file"),root,root) $file" ;;
    esac
  done
} > "$work/$name.spec"

# Nothing of this machine stands in it, and nothing is done to the files: they were stripped and packed when they were laid out.
rpmbuild -bb --quiet --target "$rpm-linux" --buildroot "$work/buildroot" --nodebuginfo --noclean \
  --define "_topdir $work/top" --define "_rpmdir $work/out" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
  --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
  --define "_build_id_links none" --define "debug_package %{nil}" --define "__os_install_post %{nil}" \
  --define "_binary_payload w9.xzdio" --define "_docdir /usr/share/doc" \
  "$work/$name.spec" >&2
built=$(find "$work/out" -name '*.rpm')
cp "$built" "$packages/"
echo "$packages/$(basename "$built")"
