# The distribution's packages, with and without installing them. Sourced.

# Installs what is missing.
apt_install() {
  local missing=() package
  for package; do dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "needs from the distribution: ${missing[*]}" >&2
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# An apt of its own for an architecture, in a folder (`dpkg --add-architecture` would be for the whole machine): its configuration's
# path.
private_apt() {
  local dir=$2/apt-$1
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  [ -e "$dir/status" ] || : > "$dir/status"
  cat > "$dir/apt.conf" <<END
APT::Architecture "$1";
APT::Architectures { "$1"; };
Dir::State "$dir";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::sourcelist "/etc/apt/sources.list.d/debian.sources";
Dir::Etc::sourceparts "-";
END
  echo "$dir/apt.conf"
}
