#!/usr/bin/env bash
# Makes an image for the SD card or eMMC of a box: `cross/image.sh ARCH PACKAGE.deb`, into target/cross/image. Prints its path. Of the
# distribution's packages, the gateway's, and what lies in cross/image/root. As root, on Debian: it makes a root file system, with the
# machine's own tools and no loop device. Environment: SSH_KEY, a file of public keys that may sign in as root (else the installer puts it
# onto the first partition); FRESH=1 fetches the distribution's packages anew.
#
# Three partitions after 16 MiB that are a board's own boot loader's: what the firmware starts; the root, only read; and data, mounted at
# /var, which grows to fill the medium. What the box writes in /etc lies over the root's, on data too.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/apt.sh
. cross/product.sh
product twinway-gateway
arch=${1:?architecture} package=${2:?package of the gateway}
images=$PWD/target/cross/image
image=$images/$arch
case "$arch" in
  arm64) efi=aa64 root_type=b921b045-1df0-41c3-af44-4c6f280d3fae ;;
  *) echo "no image for $arch: expected arm64" >&2; exit 2 ;;
esac
MIB=$((1 << 20))
ESP_MIB=384 ROOT_MIB=2560 DATA_MIB=256 BEFORE_MIB=16

include=systemd-sysv,udev,dbus,libpam-systemd,systemd-resolved,systemd-timesyncd,libnss-myhostname,openssh-server
include+=,linux-image-$arch,initramfs-tools,zstd,systemd-boot,e2fsprogs,dosfstools,iproute2,netbase,procps,kmod,passwd,ca-certificates
include+=,iputils-ping,nano,less

failed() { echo "$1" >&2; exit 1; }

# Of the sources and the package: so that cards of two images can be told apart, and one image comes out twice alike. Boxes of one image share
# them; what must be a box's own is made at its first start.
uuid() {
  local sum
  sum=$(printf '%s\n' "$1" "$SOURCE_DATE_EPOCH" "$(sha256sum < "$package")" | sha256sum)
  echo "${sum:0:8}-${sum:8:4}-8${sum:12:3}-a${sum:15:3}-${sum:18:12}"
}

# The distribution's part, which takes minutes and is kept. The initrd is made once, later.
base() {
  if [ "${FRESH:-0}" != 1 ] && [ "$(cat "$image/base.done" 2>/dev/null)" = "$include" ]; then return; fi
  echo "makes the distribution's part for $arch, which takes some minutes" >&2
  if grep -q " $image/" /proc/mounts; then failed "something is mounted below $image: umount it, then run again"; fi
  rm -rf --one-file-system "$image/base" "$image/base.done"
  # Licences stay, and what our package brings.
  # shellcheck disable=SC2016 # mmdebstrap's shell knows the folder
  TMPDIR=$image mmdebstrap --mode=root --architectures="$arch" --variant=apt --include="$include" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-include=/usr/share/man/man1/twinway*' --dpkgopt='path-include=/usr/share/doc/twinway-gateway/*' \
    --essential-hook='chroot "$1" dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs' \
    --essential-hook='ln -s /bin/true "$1/usr/sbin/update-initramfs"' \
    --customize-hook='rm "$1/usr/sbin/update-initramfs"' \
    --customize-hook='chroot "$1" dpkg-divert --quiet --local --rename --remove /usr/sbin/update-initramfs' \
    bookworm "$image/base" "$(apt_list)" >&2
  echo "$include" > "$image/base.done"
}

within() { chroot "$system" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "$@"; }

# Files of a folder of ours, with what is written @so@ in them filled in, whatever this machine's umask.
put() {
  local file mode
  (cd "$1" && find . -type f -printf '%P\n') | while read -r file; do
    mode=644
    [ ! -x "$1/$file" ] || mode=755
    mkdir -p "$(dirname "$2/$file")"
    sed "s/@esp@/$esp_uuid/g; s/@root@/$root_uuid/g; s/@data@/$data_uuid/g" "$1/$file" > "$2/$file"
    chmod "$mode" "$2/$file"
  done
}

# The root as the box has it, still with data in it.
system() {
  rm -rf --one-file-system "$work" && mkdir -p "$work"
  cp -a "$image/base" "$system"
  umask 022
  mount -t proc proc "$system/proc"
  mount --bind /dev "$system/dev"
  mount -t tmpfs tmpfs "$system/tmp"
  mount -t tmpfs run "$system/run"
  put cross/image/root "$system"
  local etc=$system/etc
  # The distribution's own mirrors: the builder's may be his network's.
  rm -f "$etc/apt/sources.list" "$etc"/apt/sources.list.d/*
  cat > "$etc/apt/sources.list.d/debian.sources" <<END
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
  # Left out with all other pages, and not made by dpkg for ours alone.
  mkdir -p "$system/usr/share/man/man1"
  cp "$package" "$system/tmp/package.deb"
  within dpkg -i /tmp/package.deb >&2
  within systemctl --quiet enable systemd-networkd systemd-resolved systemd-timesyncd ssh box-identity >&2
  # Nothing waits for ports that may have no cable, and nothing updates a root that is only read.
  within systemctl --quiet disable systemd-networkd-wait-online >&2
  within systemctl --quiet mask ctrl-alt-del.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer systemd-boot-update.service >&2
  ln -sf ../run/systemd/resolve/stub-resolv.conf "$etc/resolv.conf"
  echo unnamed > "$etc/hostname"
  # A file system of its own, so that entries name what is in it by its own paths: a folder that is bound there is none.
  mkdir -p "$system/boot/efi" "$work/esp"
  mount -t tmpfs esp "$system/boot/efi"
  kernel=$(basename "$system"/lib/modules/*)
  within update-initramfs -c -k "$kernel" >&2
  within kernel-install add "$kernel" "/boot/vmlinuz-$kernel" >&2
  # A box's own, made at its first start. An empty machine-id is filled in then.
  : > "$etc/machine-id"
  rm -f "$system/var/lib/dbus/machine-id" "$etc"/ssh/ssh_host_* "$system/var/lib/systemd/random-seed" "$system/var/lib/systemd/credential.secret"
  if grep -vE '^[^:]+:(\*|!\*?|!!):' "$etc/shadow" >&2; then failed "an account has a password"; fi
  # What installing left behind, and would differ from one time to the next.
  rm -rf "$system"/var/lib/apt/lists/* "$system"/var/cache/{apt,debconf,ldconfig}/* "$system"/var/log/* "$system"/var/tmp/*
  rm -f "$etc"/{passwd,group,shadow,gshadow,subuid,subgid}- "$etc/.pwd.lock" "$system"/var/lib/dpkg/*-old
  mkdir -p "$system/var/cache/apt/archives/partial" "$system/var/lib/apt/lists/partial"
  cp -a "$system/boot/efi/." "$work/esp/"
  if grep -rn '/boot/efi' "$work/esp/loader/entries" >&2; then failed "an entry names what its firmware cannot find"; fi
  umount "$system/boot/efi" "$system/run" "$system/tmp" "$system/dev" "$system/proc"
  within dpkg-query -W > "$work/packages"
}

# Into parts of the medium: what the firmware starts, and data.
parts() {
  mkdir -p "$work"/data/overlay/etc/{upper,work}
  put cross/image/esp "$work/esp"
  install -Dm644 "$system/usr/lib/systemd/boot/efi/systemd-boot$efi.efi" "$work/esp/EFI/BOOT/BOOT${efi^^}.EFI"
  # Where U-Boot looks for what it knows of its board.
  mkdir -p "$work/esp/dtb"
  cp -r "$system/usr/lib/linux-image-$kernel/." "$work/esp/dtb/"
  [ -z "${SSH_KEY:-}" ] || cp "$SSH_KEY" "$work/esp/twinway/authorized_keys"
  mv "$system"/var/* "$work/data/"
  mv "$system/root" "$work/data/roothome"
  mkdir -m 700 "$system/root"
  find "$work/esp" "$work/data" "$system" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# An ext4 file system of a folder: `ext4 FOLDER FILE MIB LABEL UUID [ARGUMENT...]`.
ext4() {
  truncate -s "${3}M" "$2"
  export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
  mke2fs -q -F -t ext4 -T default -b 4096 -L "$4" -U "$5" -E "hash_seed=$5,root_owner=0:0" "${@:6}" -d "$1" "$2"
  # When this machine wrote the folder is nobody's matter.
  local used field inode
  used=$(dumpe2fs -h "$2" 2>/dev/null | awk '/^Inode count:/ { n = $3 } /^Free inodes:/ { n -= $3 } END { print n }')
  for inode in $(seq 11 "$used"); do
    for field in ctime atime crtime; do printf 'sif <%s> %s @%s\nsif <%s> %s_extra 0\n' "$inode" $field "$SOURCE_DATE_EPOCH" "$inode" $field; done
  done > "$2.times"
  debugfs -w -f "$2.times" "$2" >/dev/null 2>"$2.told"
  if grep -v '^debugfs 1' "$2.told" >&2; then failed "cannot set times in $2"; fi
}

fat() {
  truncate -s "${ESP_MIB}M" "$2"
  mkfs.vfat -F 32 -n TWINWAY --invariant "$2" >/dev/null
  local file
  export MTOOLS_SKIP_CHECK=1 TZ=UTC
  (cd "$1" && find . -mindepth 1 -type d -printf '%P\n' | sort) | while read -r file; do mmd -i "$2" "::$file"; done
  (cd "$1" && find . -type f -printf '%P\n' | sort) | while read -r file; do mcopy -m -i "$2" "$1/$file" "::$file"; done
}

whole() {
  local esp_at=$((BEFORE_MIB * MIB / 512)) root_at data_at end
  root_at=$((esp_at + ESP_MIB * MIB / 512))
  data_at=$((root_at + ROOT_MIB * MIB / 512))
  end=$((data_at + DATA_MIB * MIB / 512))
  rm -f "$1"
  truncate -s $((end * 512 + MIB)) "$1"
  sfdisk -q "$1" <<END
label: gpt
label-id: $(uuid disk)
first-lba: 2048
start=$esp_at, size=$((root_at - esp_at)), type=c12a7328-f81f-11d2-ba4b-00a0c93ec93b, name=twinway-start, uuid=$esp_uuid
start=$root_at, size=$((data_at - root_at)), type=$root_type, name=twinway-root, uuid=$root_uuid
start=$data_at, size=$((end - data_at)), type=0fc63daf-8483-4772-8e79-3d69d8477de4, name=twinway-data, uuid=$data_uuid
END
  dd if="$work/esp.img" of="$1" bs=1M seek="$BEFORE_MIB" conv=notrunc,sparse status=none
  dd if="$work/root.img" of="$1" bs=1M seek=$((BEFORE_MIB + ESP_MIB)) conv=notrunc,sparse status=none
  dd if="$work/data.img" of="$1" bs=1M seek=$((BEFORE_MIB + ESP_MIB + ROOT_MIB)) conv=notrunc,sparse status=none
}

[ "$(id -u)" -eq 0 ] || failed "a root file system is made as root"
[ "$(dpkg-deb -f "$package" Package Architecture)" = "Package: twinway-gateway
Architecture: $arch" ] || failed "$package is no package of twinway-gateway for $arch: make deb ARCH=$arch"
if [ -n "${SSH_KEY:-}" ]; then
  ! grep -q 'PRIVATE KEY' "$SSH_KEY" || failed "$SSH_KEY is a private key: the public one is wanted, its name ends with .pub"
  ssh-keygen -l -f "$SSH_KEY" >/dev/null || failed "$SSH_KEY holds no public key, as ssh-keygen writes them"
fi

# Mounts are seen by nothing else, and gone with it.
if [ "${INSIDE:-}" != 1 ]; then
  apt_install mmdebstrap fdisk dosfstools mtools e2fsprogs openssh-client
  foreign "$arch"
  mkdir -p "$image"
  base
  INSIDE=1 exec unshare --mount --pid --fork bash ${TRACE:+-x} "cross/image.sh" "$@"
fi

work=$image/making system=$image/making/system
esp_uuid=$(uuid esp) root_uuid=$(uuid root) data_uuid=$(uuid data)
system
parts
fat "$work/esp" "$work/esp.img"
ext4 "$system" "$work/root.img" "$ROOT_MIB" twinway-root "$root_uuid" -m 0 -J size=16
# It grows from here to the medium's end, so its journal has the size of a larger one's.
ext4 "$work/data" "$work/data.img" "$DATA_MIB" twinway-data "$data_uuid" -m 1 -J size=32
made=$images/$(basename "$package" .deb)
whole "$made.img"
mv "$work/packages" "$made.packages"
rm -rf --one-file-system "$work"
echo "$made.img"
