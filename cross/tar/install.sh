#!/bin/sh
# Installs what lies beside this, on a system with systemd and without a package manager that we make packages for. As root.
# `./install.sh --remove` takes it away again, `--purge` with configuration, data and user.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=@NAME@ config_dir=@CONFIG_DIR@ state_dir=@STATE_DIR@ user=@USER@

# Where the command line is found, and what shells and `man` know of it.
links() {
  echo /usr/bin/twinway twinway
  echo /usr/share/man/man1/twinway.1.gz twinway.1.gz
  echo /usr/share/bash-completion/completions/twinway completions.bash
  echo /usr/share/zsh/vendor-completions/_twinway completions.zsh
  echo /usr/share/fish/vendor_completions.d/twinway.fish completions.fish
}

remove() {
  systemctl disable --now "$name.service" || true
  (cd "$here/files" && find usr ! -type d) | while read -r file; do rm -f "/$file"; done
  # Gateway and cloud bring the same command line: what leads to the other's stays.
  links | while read -r link to; do [ "$(readlink "$link")" != "/usr/lib/$name/$to" ] || rm -f "$link"; done
  # Folders that were not there before; one that something else uses by now is not empty.
  sort -r "/usr/lib/$name/folders" 2>/dev/null | while read -r dir; do
    case "$dir" in "/usr/lib/$name"*) ;; *) rmdir "$dir" 2>/dev/null || true ;; esac
  done
  rm -rf "/usr/lib/$name" "/usr/share/doc/$name"
  systemctl daemon-reload || true
}

case "${1:-}" in
  --remove) remove; exit ;;
  --purge)
    remove
    rm -rf "$config_dir" "$state_dir" "$state_dir-update" "/run/$user"
    userdel "$user" 2>/dev/null || true
    exit
    ;;
  "") ;;
  *) echo "usage: install.sh [--remove | --purge]" >&2; exit 64 ;;
esac

# What is made here goes with its removal; of an upgrade, what was made before.
folders=$(cat "/usr/lib/$name/folders" 2>/dev/null || true)
folders="$folders
$(cd "$here/files" && find usr -type d | while read -r dir; do [ -d "/$dir" ] || echo "/$dir"; done)"
# A program that runs cannot be written over, only replaced.
cp -a --no-preserve=ownership --remove-destination "$here/files/usr" /
echo "$folders" | sed '/^$/d' > "/usr/lib/$name/folders"
install -d "$config_dir/conf.d"
# What somebody wrote stays.
(cd "$here/files$config_dir" && find . -type f) | while read -r file; do
  [ -e "$config_dir/$file" ] || install -m644 "$here/files$config_dir/$file" "$config_dir/$file"
done
links | while read -r link to; do ln -sf "/usr/lib/$name/$to" "$link"; done
systemd-sysusers "/usr/lib/sysusers.d/$name.conf"
systemd-tmpfiles --create "/usr/lib/tmpfiles.d/$name.conf"
systemctl daemon-reload
systemctl enable "$name.service"
systemctl restart "$name.service"
