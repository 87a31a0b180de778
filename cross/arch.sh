# What an architecture is called by whom. Sourced: `arch arm64` sets `deb`, `triple`, `gcc`, `rpm`, `qemu`,
# and `code`: how xz packs its machine code (as its manual has it for instructions of 4 bytes or of any length).
arch() {
  deb=$1
  case "$1" in
    amd64) triple=x86_64-unknown-linux-gnu gcc=x86_64-linux-gnu rpm=x86_64 qemu= code="--x86 --lzma2=preset=9e" ;;
    arm64) triple=aarch64-unknown-linux-gnu gcc=aarch64-linux-gnu rpm=aarch64 qemu=qemu-aarch64-static code="--arm64 --lzma2=preset=9e,lc=2,lp=2,pb=2" ;;
    armhf) triple=armv7-unknown-linux-gnueabihf gcc=arm-linux-gnueabihf rpm=armv7hl qemu=qemu-arm-static code="--arm --lzma2=preset=9e,lc=2,lp=2,pb=2" ;;
    # Static, for a box whose C library is too old or another one. An archive only.
    arm64-musl) triple=aarch64-unknown-linux-musl gcc=aarch64-linux-gnu rpm= qemu=qemu-aarch64-static code= ;;
    *) echo "unknown architecture $1: expected amd64, arm64, armhf or arm64-musl" >&2; return 2 ;;
  esac
}
