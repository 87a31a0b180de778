#!/bin/sh
# Installs what lies beside this, on a system with systemd and without a package manager that we make packages for. As root.
# `./install.sh --remove` takes it away again, `--purge` with configuration, data and user.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
name=@NAME@ config_dir=@CONFIG_DIR@ state_dir=@STATE_DIR@ user=@USER@

remove() {
  systemctl disable --now "$name.service" || true
  (cd "$here/files" && find usr -type f) | while read -r file; do rm -f "/$file"; done
  rm -rf "/usr/lib/$name" "/usr/share/doc/$name" /usr/bin/twinway
  systemctl daemon-reload || true
}

case "${1:-}" in
  --remove) remove; exit ;;
  --purge)
    remove
    rm -rf "$config_dir" "$state_dir" "/run/$user"
    userdel "$user" 2>/dev/null || true
    exit
    ;;
  "") ;;
  *) echo "usage: install.sh [--remove | --purge]" >&2; exit 64 ;;
esac

cp -a --no-preserve=ownership "$here/files/usr" /
install -d "$config_dir/conf.d"
# What somebody wrote stays.
(cd "$here/files$config_dir" && find . -type f) | while read -r file; do
  [ -e "$config_dir/$file" ] || install -m644 "$here/files$config_dir/$file" "$config_dir/$file"
done
ln -sf "/usr/lib/$name/twinway" /usr/bin/twinway
systemd-sysusers "/usr/lib/sysusers.d/$name.conf"
systemd-tmpfiles --create "/usr/lib/tmpfiles.d/$name.conf"
systemctl daemon-reload
systemctl enable "$name.service"
systemctl restart "$name.service"
