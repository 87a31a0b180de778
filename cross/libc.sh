# What programs need of the C library, which may be less than what they were linked with. Sourced: `libc_needs OBJDUMP PROGRAM...` sets
# `libc`, the newest version of a symbol (2.34), and `relr`, which is empty without packed relocations: these are no symbol, and
# libraries that read them say so by a version of its own. The first that does is 2.36.
libc_needs() {
  local objdump=$1
  shift
  libc=$("$objdump" -T "$@" | grep -o 'GLIBC_[0-9][0-9.]*' | sed 's/GLIBC_//' | sort -Vu | tail -n1)
  relr=$("$objdump" -p "$@" | grep -o 'GLIBC_ABI_DT_RELR' | head -n1 || true)
}
