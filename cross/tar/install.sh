#!/bin/sh
# Installs what lies beside this, on a system with systemd and without a package manager that we make packages for. As root.
# `./install.sh --remove` takes it away again, `--purge` with configuration, data and user. ROOT=FOLDER in the environment: into the
# system that lies there, which does not run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=@NAME@ config_dir=@CONFIG_DIR@ state_dir=@STATE_DIR@ user=@USER@ services="@SERVICES@"
root=${ROOT:-}
own=$root/usr/lib/$name

# Where the command line is found, and what shells and `man` know of it.
links() {
  echo /usr/bin/twinway twinway
  echo /usr/share/man/man1/twinway.1.gz twinway.1.gz
  echo /usr/share/bash-completion/completions/twinway completions.bash
  echo /usr/share/zsh/vendor-completions/_twinway completions.zsh
  echo /usr/share/fish/vendor_completions.d/twinway.fish completions.fish
}

running() { [ -n "$root" ] || systemctl "$@"; }
brings() { (cd "$here/files" && find usr ! -type d); }
# Of what was installed; before there was a list, what this brings.
installed() { cat "$own/files" 2>/dev/null || brings; }

remove() {
  # The updater first: it starts the gateway.
  for service in $services; do running stop "$service" || true; done
  systemctl ${root:+--root="$root"} disable "$name.service" || true
  installed | while read -r file; do rm -f "$root/$file"; done
  # Gateway and cloud bring the same command line: what leads to the other's stays.
  links | while read -r link to; do [ "$(readlink "$root$link")" != "/usr/lib/$name/$to" ] || rm -f "$root$link"; done
  # Folders that were not there before; one that something else uses by now is not empty.
  sort -r "$own/folders" 2>/dev/null | while read -r dir; do
    case "$dir" in "/usr/lib/$name"*) ;; *) rmdir "$root$dir" 2>/dev/null || true ;; esac
  done
  rm -rf "$own" "$root/usr/share/doc/$name"
  running daemon-reload || true
}

case "${1:-}" in
  --remove) remove; exit ;;
  --purge)
    remove
    rm -rf "$root$config_dir" "$root$state_dir" "$root$state_dir-update" "$root/run/$user"
    userdel ${root:+--root "$root"} "$user" 2>/dev/null || true
    exit
    ;;
  "") ;;
  *) echo "usage: install.sh [--remove | --purge]" >&2; exit 64 ;;
esac

first=1
[ ! -e "$own/sums" ] || first=0
# What is made here goes with its removal; of an upgrade, what was made before.
folders=$(cat "$own/folders" 2>/dev/null || true)
folders="$folders
$(cd "$here/files" && find usr -type d | while read -r dir; do [ -d "$root/$dir" ] || echo "/$dir"; done)"
before=$(installed)
# A program that runs cannot be written over, only replaced.
cp -a --no-preserve=ownership --remove-destination "$here/files/usr" "$root/"
echo "$folders" | sed '/^$/d' > "$own/folders"
# What only the version before had. Both lists are there until it is gone: a cut in between leaves nothing behind.
{ echo "$before"; brings; } | sort -u > "$own/files.new"
mv "$own/files.new" "$own/files"
echo "$before" | while read -r file; do [ -e "$here/files/$file" ] || [ -L "$here/files/$file" ] || rm -f "$root/$file"; done
brings > "$own/files.new"
mv "$own/files.new" "$own/files"
install -d "$root$config_dir/conf.d"
# What somebody wrote stays, and what this brings lies beside it as .dist; a file that is as the version before brought it becomes as this
# brings it. `sums` tells what was brought.
brings_config() { (cd "$here/files$config_dir" && find . -type f | sed 's#^\./##'); }
sum() { sha256sum < "$1" | cut -d' ' -f1; }
brings_config | while read -r file; do
  brought=$here/files$config_dir/$file has=$root$config_dir/$file
  was=$(sed -n "s#  $file\$##p" "$own/sums" 2>/dev/null || true)
  if [ ! -e "$has" ]; then
    install -m644 "$brought" "$has"
  elif [ "$(sum "$has")" = "$was" ]; then
    # With the rights that it has.
    cp -p "$has" "$has.new"
    cat "$brought" > "$has.new"
    mv "$has.new" "$has"
  elif [ "$(sum "$brought")" != "$was" ] && [ "$(sum "$brought")" != "$(sum "$has")" ]; then
    install -m644 "$brought" "$has.dist"
    echo "$config_dir/$file stays as somebody wrote it; what this version brings is $config_dir/$file.dist"
  fi
done
links | while read -r link to; do ln -sf "/usr/lib/$name/$to" "$root$link"; done
systemd-sysusers ${root:+--root="$root"} "$root/usr/lib/sysusers.d/$name.conf"
systemd-tmpfiles ${root:+--root="$root"} --create "$root/usr/lib/tmpfiles.d/$name.conf"
running daemon-reload
# It runs once it is installed; a later installation leaves what was decided.
[ "$first" = 0 ] || systemctl ${root:+--root="$root"} enable "$name.service"
(cd "$here/files$config_dir" && brings_config | xargs -r sha256sum) > "$own/sums.new"
mv "$own/sums.new" "$own/sums"
if systemctl ${root:+--root="$root"} --quiet is-enabled "$name.service"; then
  running restart "$name.service"
else
  running try-restart "$name.service"
fi
