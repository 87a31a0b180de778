#!/usr/bin/env bash
# Puts what a cross build needs in place: `cross/setup.sh ARCH...`. The C compiler from the distribution. Of Rust, what
# rustup has for the target; else, and with OFFLINE=1, the distribution's own Rust with the target's library, unpacked into
# target/cross without touching the machine. Does nothing where all is there. Writes target/cross/env-ARCH.sh.
set -euo pipefail
cd -P "$(dirname "$0")/.."
. cross/arch.sh
. cross/apt.sh
# As the compiler sees it, whatever links lead here.
root=$PWD/target/cross
mkdir -p "$root/debs"

version() { apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p'; }

# The distribution's rustc, its library's source, and what of LLVM it needs, into target/cross/rust.
rust_of_the_distribution() {
  apt-cache show rustc-web >/dev/null 2>&1 || update_lists
  # The security pool keeps the newest only: names are looked up, not versions written down here.
  local std llvm found
  apt-cache show rustc-web >/dev/null 2>&1 || {
    echo "no rustc-web in the package lists. It is in Debian 12's security archive: is that in /etc/apt, and its mirror reachable?" >&2
    echo "Else use rustup, see docs/installer.md" >&2
    exit 1
  }
  found=$(version rustc-web)
  # What is written below names this folder: after a move it is written again.
  [ "$(cat "$root/rust/version" 2>/dev/null)" != "$found $root" ] || return 0
  std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -n1)
  llvm=$(apt-cache depends "$std" | sed -n 's/.*Depends: \(libllvm[0-9]*\)$/\1/p' | head -n1)
  echo "unpacks rustc $found into target/cross/rust" >&2
  local wanted=(rustc-web "$std" libstd-rust-web-dev "$llvm" rust-web-src "lld-${llvm#libllvm}")
  rm -rf "$root/debs" && mkdir -p "$root/debs"
  (cd "$root/debs" && apt-get download -q "${wanted[@]}" >&2) || {
    echo "cannot fetch one of ${wanted[*]}: is the mirror in /etc/apt reachable, and was 'apt-get update' done of late? Then run this again" >&2
    exit 1
  }
  rm -rf "$root/rust" && mkdir -p "$root/rust"
  local file
  for file in "$root"/debs/*.deb; do dpkg-deb -x "$file" "$root/rust"; done
  mkdir -p "$root/bin"
  local program
  for program in rustc rustdoc; do
    cat > "$root/bin/$program" <<END
#!/bin/sh
LD_LIBRARY_PATH="$root/rust/usr/lib/x86_64-linux-gnu" exec "$root/rust/usr/bin/$program" "\$@"
END
    chmod +x "$root/bin/$program"
  done
  mkdir -p "$root/lld"
  cat > "$root/lld/ld.lld" <<END
#!/bin/sh
LD_LIBRARY_PATH="$root/rust/usr/lib/x86_64-linux-gnu" exec "$root/rust/usr/lib/llvm-${llvm#libllvm}/bin/ld.lld" "\$@"
END
  chmod +x "$root/lld/ld.lld"
  "$root/bin/rustc" --version >&2
  echo "$found $root" > "$root/rust/version"
}

# The target's library, where the distribution has exactly this compiler's for it; else it is built with the program.
library_of_the_distribution() {
  [ ! -d "$root/rust/usr/lib/rustlib/$triple/lib" ] || return 0
  [ "$deb" = arm64 ] || return 1
  local conf there
  conf=$(private_apt "$deb" "$root")
  APT_CONFIG=$conf apt-get update -q >&2 || return 1
  there=$(APT_CONFIG=$conf apt-cache show --no-all-versions libstd-rust-web-dev | sed -n 's/^Version: //p')
  [ "$there $root" = "$(cat "$root/rust/version")" ] || return 1
  mkdir -p "$root/debs/$deb"
  (cd "$root/debs/$deb" && APT_CONFIG=$conf apt-get download -q libstd-rust-web-dev) || return 1
  dpkg-deb -x "$root/debs/$deb"/libstd-rust-web-dev_*.deb "$root/rust"
  [ -d "$root/rust/usr/lib/rustlib/$triple/lib" ]
}

# musl's C library and linker come with zig, from PyPI.
zig() {
  [ -x "$root/zig/bin/cargo-zigbuild" ] && return 0
  apt_install python3-venv
  echo "needs from PyPI: ziglang, cargo-zigbuild, into target/cross/zig" >&2
  /usr/bin/python3 -m venv --clear "$root/zig"
  "$root/zig/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1 cargo-zigbuild==0.24.0
}

# The C compiler as linker, with lld: it packs relocations (of Debian 12's C library and newer) and puts functions of the same bytes
# together. With the distribution's or rustup's; where there is neither, as the C compiler links by itself.
linker() {
  local lld=$root/lld
  [ "$own" = 1 ] || lld=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/gcc-ld
  if [ ! -x "$lld/ld.lld" ]; then
    echo "no lld at $lld: the program will be larger" >&2
    echo "$gcc-gcc"
    return
  fi
  mkdir -p "$root/bin"
  cat > "$root/bin/ld-$deb" <<END
#!/bin/sh
exec $gcc-gcc "\$@" -fuse-ld=lld "-B$lld" -Wl,-z,pack-relative-relocs,--icf=all
END
  chmod +x "$root/bin/ld-$deb"
  echo "$root/bin/ld-$deb"
}

environment() {
  local name=${triple//-/_} rustc=rustc flags
  local build_std=$1 own=$2
  local out=$root/env-$deb.sh
  echo "# Made by cross/setup.sh: what cargo needs to build for $deb." > "$out"
  if [ "$own" = 1 ]; then
    rustc=$root/bin/rustc
    echo "export RUSTC=$rustc RUSTDOC=$root/bin/rustdoc" >> "$out"
  fi
  # Paths of this machine stand in no package: neither of the sources nor of what was generated.
  local crates=${CARGO_HOME:-$HOME/.cargo}/registry/src
  flags="--remap-path-prefix=$crates=/registry --remap-path-prefix=$root=/build"
  # A home of cargo behind a link has two names: cargo says the one, and the compiler stands in the other.
  [ "$(realpath -m "$crates")" = "$crates" ] || flags+=" --remap-path-prefix=$(realpath -m "$crates")=/registry"
  flags+=" --remap-path-prefix=$("$rustc" --print sysroot)/lib/rustlib/src/rust=/rust"
  [ "$triple" != aarch64-unknown-linux-musl ] || flags+=" -Clink-self-contained=no"
  cat >> "$out" <<END
export CARGO_TARGET_DIR=$root/build
export CARGO_TARGET_${name^^}_RUSTFLAGS="$flags"
END
  if [ "$triple" = aarch64-unknown-linux-musl ]; then
    echo "export PATH=$root/zig/bin:\$PATH" >> "$out"
    echo "cargo_build=(cargo-zigbuild zigbuild)" >> "$out"
  else
    echo "export CARGO_TARGET_${name^^}_LINKER=$(linker)" >> "$out"
    echo "cargo_build=(cargo build)" >> "$out"
  fi
  [ -z "$qemu" ] || echo "export CARGO_TARGET_${name^^}_RUNNER='$qemu -L /usr/$gcc'" >> "$out"
  # Cargo builds the library too, which it does for nightly compilers only, unless it is told that this one is wanted.
  if [ "$build_std" = 1 ]; then
    echo "export RUSTC_BOOTSTRAP=1" >> "$out"
    echo "cargo_flags=(-Zbuild-std=std,panic_unwind)" >> "$out"
  else
    echo "cargo_flags=()" >> "$out"
  fi
  echo "triple=$triple gcc=$gcc deb=$deb" >> "$out"
}

for wanted in "${@:-arm64}"; do
  arch "$wanted"
  case "$deb" in
    amd64) apt_install gcc libc6-dev binutils ;;
    arm64) apt_install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static ;;
    armhf) apt_install gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user-static ;;
    arm64-musl) apt_install qemu-user-static binutils-aarch64-linux-gnu; zig ;;
  esac
  own=0 build_std=0
  if [ "${OFFLINE:-0}" = 1 ] || ! { rustup target list --installed 2>/dev/null | grep -qx "$triple" || rustup target add "$triple" 2>/dev/null; }; then
    own=1
    rust_of_the_distribution
    [ "$deb" = amd64 ] || library_of_the_distribution || build_std=1
  fi
  environment "$build_std" "$own"
  echo "$deb: $([ $own = 1 ] && echo "the distribution's Rust" || echo rustup)$([ $build_std = 1 ] && echo ', with the library built from its source')" >&2
done
