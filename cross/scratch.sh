#!/usr/bin/env bash
# Packages of this machine's architecture, installed into a scratch root as an administrator would: `cross/scratch.sh PACKAGE...`, of
# any kind (.deb, .tar.xz, .rpm). First over a version before, whose configuration was left alone or changed (cross/scratch/upgrade.sh).
# Then looks at what lies there, lets the service run as its user and answer, installs it a second time over a
# configuration that was changed, removes it, and purges it. As root. The root file system is that of the boot test
# (cross/boot/setup.sh), or ROOT; it is not changed: what is written lies above it, in memory. Network: loopback of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
system=${ROOT:-target/cross/boot/$(dpkg --print-architecture)/system}
[ -d "$system/usr" ] || { echo "no root file system in $system: cross/boot/setup.sh makes one" >&2; exit 2; }
system=$(realpath "$system")

if [ "${INSIDE:-}" != 1 ]; then
  for package; do INSIDE=1 unshare --mount --pid --net --fork bash ${TRACE:+-x} "$0" "$(realpath "$package")"; done
  exit
fi

package=$1
. cross/product.sh
file=$(basename "$package")
case "$file" in twinway-cloud*) product twinway-cloud ;; *) product twinway-gateway ;; esac
case "$file" in
  *.deb) kind=deb ;;
  *.tar.xz) kind=tar ;;
  *.rpm) kind=rpm ;;
  *) echo "$file: expected .deb, .tar.xz or .rpm" >&2; exit 2 ;;
esac
failed() { echo "$file: $1" >&2; exit 1; }

work=$(mktemp -d)
mount -t tmpfs scratch "$work"
mkdir "$work"/{upper,under,root}
mount -t overlay overlay -o "lowerdir=$system,upperdir=$work/upper,workdir=$work/under" "$work/root"
root=$work/root
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount -t tmpfs run "$root/run"
ip link set lo up
mkdir "$root/new"
cp "$package" "$root/new/"
# Accounts that a machine may have of before are not this package's.
within() { chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/new LC_ALL=C "$@"; }
as_user() { chroot --userspec="$user:$user" "$root" env -i PATH=/usr/bin:/bin LC_ALL=C "$@"; }

there() {
  (cd "$root" && find etc usr var opt srv \( -path var/lib/dpkg -o -path var/lib/rpm -o -path var/log -o -path var/cache \
    -o -path var/lib/systemd/deb-systemd-helper-enabled -o -path var/lib/systemd/deb-systemd-helper-masked \) -prune -o -print | sort)
}
# A package that lies in /new.
install_it() {
  case "$kind" in
    deb) within dpkg -i "/new/$(basename "$1")" ;;
    # Unpacked by this machine: the root may have no xz.
    tar)
      rm -rf "$root/new/here" && mkdir "$root/new/here"
      tar -C "$root/new/here" --strip-components=1 -xf "$root/new/$(basename "$1")"
      within /new/here/install.sh
      ;;
    rpm) rpm --root "$root" --nodeps --ignorearch -U --force "$root/new/$(basename "$1")" ;;
  esac
}
remove_it() {
  case "$kind" in
    deb) within dpkg -r "$name" ;;
    tar) within /new/here/install.sh --remove ;;
    rpm) rpm --root "$root" --nodeps -e "$name" ;;
  esac
}
purge_it() {
  case "$kind" in
    deb) within dpkg -P "$name" ;;
    tar) within /new/here/install.sh --purge ;;
    # RPM has no purge: what is left is what an administrator would look for.
    rpm) rm -rf "$root$config_dir" "$root$state_dir" "$root$state_dir-update"; within userdel "$user"; rm -rf "$root/var/lib/rpm" ;;
  esac
}
# What of it is still there, or of the system no more.
left_over() {
  ! within id "$user" >/dev/null 2>&1 || failed "the user stays"
  # Copies that the system makes of its accounts are its own; and folders that every distribution with RPM has.
  local own='etc/(passwd|group|shadow|gshadow)-$|etc/\.pwd\.lock$|var/lib/systemd/deb-systemd-helper' left
  [ "$kind" != rpm ] || own="$own|var/lib/rpm|usr/share/(fish|fish/vendor_completions.d|zsh|zsh/site-functions|man/man1)$"
  left=$(diff <(echo "$before") <(there) | grep '^[<>]' | grep -vE " ($own)" || true)
  [ -z "$left" ] || failed "is left or gone: $left"
}
. cross/scratch/upgrade.sh

before=$(there)
upgrades

install_it "$package" > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "does not install"; }

# What lies there.
within id "$user" >/dev/null || failed "no user $user"
[ "$name" != twinway-gateway ] || within id -nG "$user" | grep -qw dialout || failed "$user cannot use serial ports"
[ "$(within stat -c '%U %a' "$state_dir")" = "$user 700" ] || failed "$state_dir: $(within stat -c '%U %a' "$state_dir")"
[ "$(within stat -c '%U %a' "$config_dir/secrets")" = "root 700" ] || failed "secrets: $(within stat -c '%U %a' "$config_dir/secrets")"
[ -L "$root/etc/systemd/system/multi-user.target.wants/$name.service" ] || failed "the service does not start by itself"
within systemd-analyze verify --man=no --recursive-errors=yes "/usr/lib/systemd/system/$name.service" || failed "its unit is wrong"
told=$(within "$name" version) && [[ $told == *"$version"* ]] || failed "version: $told"
told=$(within twinway --version) && [[ $told == *"$version"* ]] || failed "no twinway: $told"
for completed in "$name" twinway; do
  [ -s "$root/usr/share/bash-completion/completions/$completed" ] || [ -L "$root/usr/share/bash-completion/completions/$completed" ] ||
    [ ! -d "$root/usr/share/bash-completion/completions" ] || failed "nothing completes $completed"
done

# It runs as its user, with the configuration that it came with.
if [ "$name" = twinway-cloud ]; then
  as_user "$name" check --config "$config_dir/$config" || failed "its own configuration is refused"
else
  as_user "$name" check "$config_dir/$config" || failed "its own configuration is refused"
fi
install -d -o "$(within id -u "$user")" "$root/run/$user"
chroot --userspec="$user:$user" "$root" "$name" run --config "$config_dir/$config" > "$work/service" 2>&1 &
service=$!
answers=
for _ in $(seq 100); do
  at=$(sed -n 's/.*"\(api\|http\)": *"\([^"]*\)".*/\2/p; s/.*"\(api\|http\)":"\([^"]*\)".*/\2/p' "$root$state_dir/addresses.json" 2>/dev/null | head -n1 || true)
  if [ -n "$at" ] && curl -fsS "http://$at/healthz" >/dev/null 2>&1; then answers=$at; break; fi
  kill -0 "$service" 2>/dev/null || break
  sleep 0.1
done
[ -n "$answers" ] || { cat "$work/service" >&2; failed "does not answer"; }
kill "$service"
wait "$service" || failed "ended with $?"

# An upgrade leaves what somebody wrote, and data.
echo "# mine" >> "$root$config_dir/$config"
install_it "$package" > "$work/log" 2>&1 < /dev/null || { cat "$work/log" >&2; failed "does not install over itself"; }
grep -q "# mine" "$root$config_dir/$config" || failed "an upgrade wrote over the configuration"
[ -e "$root$state_dir/addresses.json" ] || failed "an upgrade took the data"

remove_it > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "cannot be removed"; }
[ ! -e "$root/usr/bin/$name" ] && [ ! -L "$root/usr/bin/twinway" ] || failed "programs stay"
cat "$root$config_dir/$config"* | grep -q "# mine" || failed "its removal took the configuration"
[ -e "$root$state_dir/addresses.json" ] || failed "its removal took the data"

purge_it > "$work/log" 2>&1 || { cat "$work/log" >&2; failed "cannot be purged"; }
left_over
echo "$file: upgrades a version before, is installed, runs, is removed and leaves nothing"
