# The distribution's packages, with and without installing them. Sourced.

# Installs what is missing.
apt_install() {
  local missing=() package
  for package; do dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "needs from the distribution: ${missing[*]}" >&2
  update_lists
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 || {
    echo "cannot install ${missing[*]}: is the mirror in /etc/apt reachable? What stands above says more" >&2
    return 1
  }
}

# Programs of an architecture run here while a root is made of its packages (binfmt_misc, until the next boot).
foreign() {
  [ "$1" != "$(dpkg --print-architecture)" ] || return 0
  apt_install arch-test qemu-user-static
  local binfmt
  case "$1" in
    arm64) binfmt=qemu-aarch64 ;;
    armhf) binfmt=qemu-arm ;;
    *) return 0 ;;
  esac
  [ -e /proc/sys/fs/binfmt_misc/register ] || as_root mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
  [ -e "/proc/sys/fs/binfmt_misc/$binfmt" ] ||
    as_root tee /proc/sys/fs/binfmt_misc/register < "/usr/lib/binfmt.d/$binfmt.conf" >/dev/null
}

as_root() {
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" "$@"
}

update_lists() {
  as_root apt-get update -q >&2 || echo "the package lists are not up to date: a mirror in /etc/apt did not answer as it should" >&2
}

# Where the distribution's own packages come from, and no others: containers have the newer form, installed systems of Debian 12 the older.
apt_list() {
  local list
  for list in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    [ ! -s "$list" ] || { echo "$list"; return; }
  done
  echo "no list of Debian's packages in /etc/apt" >&2
  return 1
}

# An apt of its own for an architecture, in a folder (`dpkg --add-architecture` would be for the whole machine): its configuration's
# path.
private_apt() {
  local dir=$2/apt-$1
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  [ -e "$dir/status" ] || : > "$dir/status"
  local list
  list=$(apt_list)
  cat > "$dir/apt.conf" <<END
APT::Architecture "$1";
APT::Architectures { "$1"; };
Dir::State "$dir";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::sourcelist "$list";
Dir::Etc::sourceparts "-";
END
  echo "$dir/apt.conf"
}
