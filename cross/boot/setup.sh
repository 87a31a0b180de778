#!/usr/bin/env bash
# Makes what the boot test needs, once, in target/cross/boot: an arm64 root file system with systemd, a kernel, and an emulator. Of
# the distribution; the machine's own packages change by mmdebstrap and qemu-user-static alone. As root.
set -euo pipefail
cd "$(dirname "$0")/../.."
boot=$PWD/target/cross/boot
mkdir -p "$boot"
. cross/apt.sh

apt_install mmdebstrap arch-test qemu-user-static

# Programs of arm64 run here while the root is made.
if [ ! -e /proc/sys/fs/binfmt_misc/register ]; then mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc; fi
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ]; then
  cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
fi

emulator() {
  command -v qemu-system-aarch64 >/dev/null && return
  [ ! -x "$boot/qemu/usr/bin/qemu-system-aarch64" ] || return 0
  echo "unpacks the emulator into target/cross/boot/qemu" >&2
  # Installing it could take other packages away; unpacked beside them it cannot. With what it needs and this machine lacks.
  local conf packages
  conf=$(private_apt amd64 "$boot")
  APT_CONFIG=$conf apt-get update -q >&2
  cp /var/lib/dpkg/status "$boot/apt-amd64/status"
  packages=$(APT_CONFIG=$conf apt-get install -s --no-install-recommends qemu-system-arm ipxe-qemu | sed -n 's/^Inst \([^ ]*\).*/\1/p')
  mkdir -p "$boot/debs" "$boot/qemu"
  # shellcheck disable=SC2086 # a list
  (cd "$boot/debs" && APT_CONFIG=$conf apt-get download -q $packages >&2)
  for file in "$boot"/debs/*.deb; do dpkg-deb -x "$file" "$boot/qemu"; done
}

kernel() {
  [ ! -e "$boot/vmlinuz" ] || return 0
  local conf name version
  conf=$(private_apt arm64 "$boot")
  APT_CONFIG=$conf apt-get update -q >&2
  name=$(APT_CONFIG=$conf apt-cache depends linux-image-cloud-arm64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
  mkdir -p "$boot/kernel"
  (cd "$boot/kernel" && APT_CONFIG=$conf apt-get download -q "$name" >&2 && dpkg-deb -x ./*.deb .)
  version=$(basename "$boot"/kernel/lib/modules/*)
  # NVMe, ext4, PCI and the console are in the kernel: it needs no initrd. The network and the like are modules.
  local from=$boot/kernel/lib/modules/$version to=$boot/root/lib/modules/$version
  mkdir -p "$to"
  cp "$from"/modules.{builtin,order,builtin.modinfo} "$to/"
  local folder
  for folder in drivers/virtio drivers/net/virtio_net.ko drivers/net/net_failover.ko net/core/failover.ko fs/autofs drivers/char/hw_random; do
    mkdir -p "$to/kernel/$(dirname "$folder")"
    cp -r "$from/kernel/$folder" "$to/kernel/$(dirname "$folder")/"
  done
  chroot "$boot/root" depmod "$version"
  cp "$boot/kernel/boot/vmlinuz-$version" "$boot/vmlinuz"
}

root() {
  [ ! -e "$boot/root.done" ] || return 0
  echo "makes a root file system for arm64, which takes some minutes" >&2
  rm -rf "$boot/root"
  TMPDIR=$boot mmdebstrap --mode=root --architectures=arm64 --variant=apt --include=systemd-sysv,udev,kmod,iproute2,netbase,procps,passwd \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    bookworm "$boot/root" /etc/apt/sources.list.d/debian.sources >&2
  echo box1 > "$boot/root/etc/hostname"
  echo '/dev/nvme0n1 / ext4 defaults 0 1' > "$boot/root/etc/fstab"
  : > "$boot/root/etc/machine-id"
  printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' > "$boot/root/etc/systemd/network/80-dhcp.network"
  mkdir -p "$boot/root/etc/systemd/system/serial-getty@ttyAMA0.service.d"
  # The test's console; nobody else reaches it.
  printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %%I dumb\n' \
    > "$boot/root/etc/systemd/system/serial-getty@ttyAMA0.service.d/login.conf"
  chroot "$boot/root" systemctl enable systemd-networkd.service >&2
  chroot "$boot/root" systemctl mask apt-daily.timer apt-daily-upgrade.timer fstrim.timer dpkg-db-backup.timer e2scrub_all.timer >&2
  touch "$boot/root.done"
}

root
kernel
emulator
