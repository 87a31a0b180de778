#!/usr/bin/env bash
# A package of a version before, made of one of this: `cross/scratch/older.sh PACKAGE FOLDER`. Its programs are the same; its version is
# 0.0.1, its configuration says something else by default, and it has a file that this version does not have. Prints its path.
set -euo pipefail
cd "$(dirname "$0")/../.."
. cross/product.sh
package=$(realpath "$1") to=$2
file=$(basename "$package")
case "$file" in twinway-cloud*) product twinway-cloud ;; *) product twinway-gateway ;; esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"

# What the version before brought.
change() {
  sed -i '1i # Of the version before.' "$1$config_dir/$config"
  echo "gone since" > "$1/usr/share/doc/$name/gone.txt"
}

case "$file" in
  *.deb)
    dpkg-deb -R "$package" "$root"
    change "$root"
    sed -i 's/^Version: .*/Version: 0.0.1/' "$root/DEBIAN/control"
    made=$to/${file/_${version}_/_0.0.1_}
    dpkg-deb --root-owner-group -Zgzip -z1 -b "$root" "$made" >/dev/null
    ;;
  *.tar.xz)
    tar -C "$root" -xf "$package"
    full=$(ls "$root")
    change "$root/$full/files"
    mv "$root/$full" "$root/${full/-$version-/-0.0.1-}"
    made=$to/${file/-$version-/-0.0.1-}
    tar -C "$root" --owner=0 --group=0 -c "${full/-$version-/-0.0.1-}" | xz -0 > "$made"
    ;;
  *.rpm)
    rpm2archive - < "$package" | tar -C "$root" -xz
    change "$root"
    told() { rpm -qp --queryformat "$1" "$package"; }
    {
      told 'Name: %{NAME}\nVersion: 0.0.1\nRelease: 1\nSummary: %{SUMMARY}\nLicense: %{LICENSE}\nAutoReqProv: no\n%%description\n%{SUMMARY}\n'
      told '%%post\n%{POSTIN}\n%%preun\n%{PREUN}\n%%postun\n%{POSTUN}\n'
      echo "%files"
      told '[%{FILEFLAGS:fflags} %{FILEMODES:perms} %{FILENAMES}\n]' | while read -r flags mode path; do
        # Without flags there are two words.
        [ -n "$path" ] || { path=$mode mode=$flags flags=; }
        case "$mode" in d*) echo "%dir $path" ;; *) echo "${flags:+%config(noreplace) }$path" ;; esac
      done
      echo "/usr/share/doc/$name/gone.txt"
    } > "$work/older.spec"
    rpmbuild -bb --quiet --target "$(told '%{ARCH}')-linux" --buildroot "$root" --nodebuginfo --noclean \
      --define "_topdir $work/top" --define "_rpmdir $work/out" --define "_build_id_links none" --define "debug_package %{nil}" \
      --define "__os_install_post %{nil}" --define "_binary_payload w1.gzdio" --define "_docdir /usr/share/doc" "$work/older.spec" >&2
    made=$to/${file/-$version-/-0.0.1-}
    cp "$(find "$work/out" -name '*.rpm')" "$made"
    ;;
  *) echo "$file: expected .deb, .tar.xz or .rpm" >&2; exit 2 ;;
esac
echo "$made"
