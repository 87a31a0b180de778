#!/usr/bin/env bash
# The same commit gives the same packages wherever it is built: builds and packs here and in a second checkout, under a longer path, another
# home of cargo, another umask, time zone and language, and compares byte for byte: `cross/elsewhere.sh PRODUCT ARCH`. Two whole builds, if
# none is here: with PROFILE=quick they are quick. Environment: as of cross/build.sh; ELSEWHERE, a folder for the second, which is kept and
# used again (else it lies in /var/tmp and is removed).
set -euo pipefail
cd "$(dirname "$0")/.."
product=$1 arch=$2
here=$PWD
[ -z "$(git status --porcelain)" ] || {
  echo "some files are not committed, so the other checkout would not have them: commit or stash them first" >&2
  git status --short >&2
  exit 2
}
work=$(mktemp -d -p /var/tmp twinway-elsewhere-XXXXXX)
trap 'rm -rf "$work"' EXIT
there=${ELSEWHERE:-$work/a-longer-path/of-another-depth/checkout}
commit=$(git rev-parse HEAD)
if [ -d "$there/.git" ]; then
  git -C "$there" fetch --quiet "$here" HEAD
elif [ ! -e "$there" ]; then
  mkdir -p "$(dirname "$there")"
  git clone --quiet --shared --no-checkout "$here" "$there"
else
  echo "$there is no checkout: name a new folder in ELSEWHERE" >&2
  exit 2
fi
git -C "$there" checkout --quiet --detach "$commit"
programs=("$product")
[ "$product" != twinway-cloud ] || programs+=(twinway)

cross/build.sh "$arch" "${programs[@]}"
for kind in deb tar rpm; do PACKAGES=$work/here "cross/$kind.sh" "$product" "$arch" >/dev/null; done

# What cargo has fetched is not fetched again, and has another path: no link, by which the compiler would find the first.
home=${CARGO_HOME:-$HOME/.cargo}
if [ ! -d "$there.home-of-cargo/registry" ] && [ -d "$home/registry" ]; then
  mkdir -p "$there.home-of-cargo"
  cp -al "$home/registry" "$there.home-of-cargo/" 2>/dev/null || cp -a "$home/registry" "$there.home-of-cargo/"
fi
(
  cd "$there"
  umask 077
  export CARGO_HOME=$there.home-of-cargo TZ=Asia/Tokyo LC_ALL=C
  cross/build.sh "$arch" "${programs[@]}"
  for kind in deb tar rpm; do PACKAGES=$work/there "cross/$kind.sh" "$product" "$arch" >/dev/null; done
)

unlike=0
for first in "$work"/here/*; do
  file=$(basename "$first")
  if cmp "$first" "$work/there/$file"; then
    sha256sum "$first" | sed "s#$work/here/##"
    continue
  fi
  unlike=1
  case "$file" in
    *.deb) unpack() { dpkg-deb -R "$1" "$2"; } ;;
    *.rpm) unpack() { rpm2archive - < "$1" | tar -C "$2" -xz; } ;;
    *) unpack() { tar -C "$2" -xf "$1"; } ;;
  esac
  rm -rf "$work/unpacked"
  mkdir -p "$work/unpacked/here" "$work/unpacked/there"
  unpack "$first" "$work/unpacked/here"
  unpack "$work/there/$file" "$work/unpacked/there"
  (cd "$work/unpacked" && diff -rq --no-dereference here there) >&2 || true
done
[ "$unlike" = 0 ] || { echo "the packages of the two checkouts differ, as told above" >&2; exit 1; }
