#!/usr/bin/env bash
# Makes what the boot test needs, once, in target/cross/boot/ARCH: a root file system with systemd, a kernel, and an emulator. Of
# the distribution, Debian 12; of the machine's own packages only mmdebstrap and, for another architecture, arch-test and
# qemu-user-static are added, and that the kernel runs its programs with qemu (binfmt_misc, until the next boot). As root:
# `cross/boot/setup.sh arm64`, `armhf` (of 32 bits, on the kernel of arm64) or `amd64`. With `emulator` after it, that alone, with
# the firmware of a board.
set -euo pipefail
cd "$(dirname "$0")/../.."
arch=${1:?architecture}
boot=$PWD/target/cross/boot/$arch
mkdir -p "$boot"
. cross/apt.sh
own=$(dpkg --print-architecture)
kernel_arch=$arch
case "$arch" in
  arm64) program=qemu-system-aarch64 package=qemu-system-arm console=ttyAMA0 disk=nvme0n1 ;;
  # Most boxes of 32 bits have a processor of 64; and no kernel for such has what the emulator needs built in.
  armhf) program=qemu-system-aarch64 package=qemu-system-arm console=ttyAMA0 disk=nvme0n1 kernel_arch=arm64 ;;
  amd64) program=qemu-system-x86_64 package=qemu-system-x86 console=ttyS0 disk=nvme0n1 ;;
  *) echo "unknown architecture $arch: expected arm64, armhf or amd64" >&2; exit 2 ;;
esac

emulator() {
  ! command -v "$program" >/dev/null || return 0
  [ ! -x "$boot/qemu/usr/bin/$program" ] || return 0
  echo "unpacks $package into $boot/qemu" >&2
  # Installing it could take other packages away; unpacked beside them it cannot. With what it needs and this machine lacks.
  local conf packages file
  conf=$(private_apt "$own" "$boot")
  cp /var/lib/dpkg/status "$boot/apt-$own/status"
  APT_CONFIG=$conf apt-get update -q >&2
  packages=$(APT_CONFIG=$conf apt-get install -s --no-install-recommends "$package" ipxe-qemu seabios |
    sed -n 's/^Inst \([^ ]*\).*/\1/p')
  mkdir -p "$boot/debs" "$boot/qemu"
  # shellcheck disable=SC2086 # a list
  (cd "$boot/debs" && APT_CONFIG=$conf apt-get download -q $packages >&2)
  for file in "$boot"/debs/*.deb; do dpkg-deb -x "$file" "$boot/qemu"; done
}

# What a board has in its flash, to start from its disk.
firmware() {
  [ "$arch" = arm64 ] || return 0
  [ ! -e "$boot/qemu/usr/share/qemu-efi-aarch64/QEMU_EFI.fd" ] || return 0
  mkdir -p "$boot/debs" "$boot/qemu"
  apt-cache show qemu-efi-aarch64 >/dev/null 2>&1 || update_lists
  (cd "$boot/debs" && apt-get download -q qemu-efi-aarch64 >&2)
  dpkg-deb -x "$boot"/debs/qemu-efi-aarch64_*.deb "$boot/qemu"
}

# Without an initrd: on arm64 NVMe, ext4, PCI and the console are in the distribution's kernel for clouds; what it needs beyond that
# and has as modules is put into the root.
kernel() {
  [ ! -e "$boot/vmlinuz" ] || return 0
  if [ "$arch" = "$own" ]; then
    cp "$boot"/system/boot/vmlinuz-* "$boot/vmlinuz"
    cp "$boot"/system/boot/initrd.img-* "$boot/initrd"
    return
  fi
  local conf name version
  conf=$(private_apt "$kernel_arch" "$boot")
  APT_CONFIG=$conf apt-get update -q >&2
  name=$(APT_CONFIG=$conf apt-cache depends "linux-image-cloud-$kernel_arch" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -n1)
  mkdir -p "$boot/kernel"
  (cd "$boot/kernel" && APT_CONFIG=$conf apt-get download -q "$name" >&2 && dpkg-deb -x ./*.deb .)
  version=$(basename "$boot"/kernel/lib/modules/*)
  local from=$boot/kernel/lib/modules/$version to=$boot/system/lib/modules/$version part
  mkdir -p "$to"
  cp "$from"/modules.{builtin,order,builtin.modinfo} "$to/"
  for part in drivers/virtio drivers/net/virtio_net.ko drivers/net/net_failover.ko net/core/failover.ko fs/autofs drivers/char/hw_random; do
    mkdir -p "$to/kernel/$(dirname "$part")"
    cp -r "$from/kernel/$part" "$to/kernel/$(dirname "$part")/"
  done
  chroot "$boot/system" depmod "$version"
  cp "$boot/kernel/boot/vmlinuz-$version" "$boot/vmlinuz"
}

# Mirrors carry the security archive's index of armhf broken now and then, and this root is thrown away: without it there.
root_list() {
  local list
  list=$(apt_list)
  [ "$arch" = armhf ] || { echo "$list"; return; }
  case "$list" in
    *.sources) awk 'BEGIN { RS = ""; ORS = "\n\n" } !/security/' "$list" > "$boot/main.sources"; echo "$boot/main.sources" ;;
    *) grep -v security "$list" > "$boot/main.list"; echo "$boot/main.list" ;;
  esac
}

root() {
  [ ! -e "$boot/system.done" ] || return 0
  echo "makes a root file system for $arch, which takes some minutes" >&2
  # What was cut off may have left this machine's own folders there.
  if grep -q " $boot/system/" /proc/mounts; then
    echo "something is mounted below $boot/system: umount it, then run again" >&2
    exit 1
  fi
  rm -rf --one-file-system "$boot/system"
  local include=systemd-sysv,udev,kmod,iproute2,netbase,procps,passwd
  [ "$arch" != "$own" ] || include+=,linux-image-cloud-$arch,initramfs-tools
  TMPDIR=$boot mmdebstrap --mode=root --architectures="$arch" --variant=apt --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    bookworm "$boot/system" "$(root_list)" >&2
  local etc=$boot/system/etc
  echo box1 > "$etc/hostname"
  echo "/dev/$disk / ext4 defaults 0 1" > "$etc/fstab"
  : > "$etc/machine-id"
  printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' > "$etc/systemd/network/80-dhcp.network"
  mkdir -p "$etc/systemd/system/serial-getty@$console.service.d"
  # The test's console; nobody else reaches it.
  printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %%I dumb\n' \
    > "$etc/systemd/system/serial-getty@$console.service.d/login.conf"
  chroot "$boot/system" systemctl enable systemd-networkd.service >&2
  chroot "$boot/system" systemctl mask apt-daily.timer apt-daily-upgrade.timer fstrim.timer dpkg-db-backup.timer e2scrub_all.timer >&2
  touch "$boot/system.done"
}

if [ "${2:-}" = emulator ]; then
  emulator
  firmware
  exit
fi
apt_install mmdebstrap
foreign "$arch"
root
kernel
emulator
