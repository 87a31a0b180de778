#!/usr/bin/env bash
# Puts what a package installs into a folder, as it will lie on the box: `cross/stage.sh PRODUCT ARCH FOLDER`. All packages are made
# of this. The programs must be built (cross/build.sh). Same programs, same bytes: times are those of the last commit.
# The folder is new or empty: nothing is removed.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/product.sh
product "$1"
. "target/cross/env-$2.sh"
root=$3
profile=${PROFILE:-dist}
built=target/cross/build/$triple/$profile
[ -z "$(find "$root" -mindepth 1 -maxdepth 1 2>/dev/null | head -n1)" ] || { echo "$root is not empty" >&2; exit 2; }
doc=$root/usr/share/doc/$name own=$root/usr/lib/$name
install -d "$root/usr/bin" "$own" "$doc/examples" "$root$config_dir/conf.d" "$root/usr/share/man/man1"
# Where the installed package links what the shells and `man` know of `twinway`.
install -d "$root"/usr/share/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}

runner=()
runner_of=CARGO_TARGET_$(tr a-z- A-Z_ <<< "$triple")_RUNNER
[ -z "${!runner_of:-}" ] || read -ra runner <<< "${!runner_of}"

# A program without its symbols.
program() { "$gcc-strip" -o "$2" "$built/$1" && chmod 755 "$2"; }
program "$name" "$root/usr/bin/$name"
if [ "$name" = twinway-gateway ]; then
  # The gateway is the command line as well: two programs would be a third more to carry.
  ln -s "../../bin/$name" "$own/twinway"
  "${runner[@]}" "$own/twinway" --version | grep -q '^twinway ' || {
    echo "$name was built without its feature cli, so the package would lack the command line: add twinway-gateway/cli to FEATURES" >&2
    exit 2
  }
else
  program twinway "$own/twinway"
fi

page() { python3 cross/man.py "$2" "$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)" "${runner[@]}" "$1" | gzip -9n > "$3"; }
page "$root/usr/bin/$name" "$summary" "$root/usr/share/man/man1/$name.1.gz"
page "$own/twinway" "one command line for gateways and the cloud" "$own/twinway.1.gz"
for shell in bash zsh fish; do
  "${runner[@]}" "$own/twinway" completions "$shell" > "$own/completions.$shell"
  case "$shell" in
    bash) completions=$root/usr/share/bash-completion/completions/$name ;;
    zsh) completions=$root/usr/share/zsh/vendor-completions/_$name ;;
    fish) completions=$root/usr/share/fish/vendor_completions.d/$name.fish ;;
  esac
  python3 cross/completions.py "$shell" "${runner[@]}" "$root/usr/bin/$name" > "$completions"
done

# What the manifest of an update says of it.
[ "$name" != twinway-gateway ] || "${runner[@]}" "$root/usr/bin/$name" version --json > "$own/build.json"

install -Dm644 "systemd/$name.service" "$root/usr/lib/systemd/system/$name.service"
if [ "$name" = twinway-gateway ]; then
  install -m644 systemd/twinway-update.service systemd/twinway-update.path "$root/usr/lib/systemd/system"
  install -Dm644 systemd/twinway-time-wait.conf "$root/usr/lib/systemd/system/systemd-time-wait-sync.service.d/twinway.conf"
  install -d "$root$config_dir/update-keys"
fi
install -Dm644 "systemd/$name.sysusers" "$root/usr/lib/sysusers.d/$name.conf"
install -Dm644 "systemd/$name.tmpfiles" "$root/usr/lib/tmpfiles.d/$name.conf"
install -m644 "config/box/$config" "$root$config_dir/$config"
install -m644 "config/$config" "$doc/examples/$config"
for guide in "${guides[@]}"; do gzip -9nc "docs/$guide.md" > "$doc/$guide.md.gz"; done
gzip -9nc CHANGELOG.md > "$doc/changelog.gz"
python3 cross/sbom.py "$name" twinway --target "$triple" --sbom "$doc/sbom.cdx.json" --licenses "$doc/licenses.txt"
gzip -9n "$doc/sbom.cdx.json" "$doc/licenses.txt"
{
  echo "Twinway is under the Apache License, version 2.0, below. The crates in its programs, their licences and their texts are in"
  printf '%s\n\n' "/usr/share/doc/$name/licenses.txt.gz; as a CycloneDX document in sbom.cdx.json.gz."
  cat LICENSE
} > "$doc/copyright"

find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -perm /111 -exec chmod 644 {} +
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
