#!/usr/bin/env bash
# Installs what tests need and this machine lacks: counterparts that we did not write, a PostgreSQL server, and a browser. From the
# distribution, and what it does not have from PyPI and npm into target/. Says what it does; does nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A package=(
  [chromium]=chromium
  [mosquitto_pub]=mosquitto-clients
  [mosquitto]=mosquitto
  [mbpoll]=mbpoll
  [script]=bsdutils
  [kill]=procps
  [stdbuf]=coreutils
  [openssl]=openssl
  [systemd-analyze]=systemd
  [protoc]=protobuf-compiler
)
export PATH="$PATH:/usr/sbin"
missing=()
for program in "${!package[@]}"; do
  type -P "$program" >/dev/null || missing+=("${package[$program]}")
done
# A server's programs are not in the path there.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
[ -e /usr/include/modbus/modbus.h ] || missing+=(libmodbus-dev)
/usr/bin/python3 -c 'import pymodbus' 2>/dev/null || missing+=(python3-pymodbus)
/usr/bin/python3 -c 'import paho.mqtt.client' 2>/dev/null || missing+=(python3-paho-mqtt)
/usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)

install_missing() {
  echo "tests need from the distribution: ${missing[*]}"
  command -v apt-get >/dev/null || {
    echo "this is no Debian or Ubuntu: install the equivalents of these packages and run again" >&2
    exit 1
  }
  local sudo=()
  [ "$(id -u)" -eq 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q
  # RUNLEVEL=1: a broker is wanted as a program for tests, not started as a service.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -q --no-install-recommends "${missing[@]}"
}
[ ${#missing[@]} -eq 0 ] || install_missing

# What Debian does not have, of fixed versions: into target/NAME.
from_pypi() {
  local venv=target/$1
  shift
  [ "$(cat "$venv/installed" 2>/dev/null)" != "$*" ] || return 0
  echo "tests need from PyPI: $*, into $venv"
  /usr/bin/python3 -m venv --clear "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$*" > "$venv/installed"
}
# A Sparkplug node and host, and OPC UA clients and servers, that we did not write.
from_pypi python-sparkplug pysparkplug==0.6.1 paho-mqtt==1.6.1 protobuf==5.29.5 typing_extensions==4.12.2
from_pypi asyncua asyncua==1.1.8
# A reader of Parquet that we did not write.
from_pypi pyarrow pyarrow==26.0.1

# The same from npm, of the versions in tests/NAME/package-lock.json; no package runs a script of its own.
from_npm() {
  local from=tests/$1 into=target/$1
  cmp -s "$from/package-lock.json" "$into/installed" 2>/dev/null || {
    echo "tests need from npm: what $from/package.json names, into $into"
    mkdir -p "$into"
    rm -f "$into/installed"
    cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$into/"
    (cd "$into" && npm ci --ignore-scripts --no-audit --no-fund --silent)
    cp "$from/package-lock.json" "$into/installed"
  }
}
# A second OPC UA client and server that we did not write.
from_npm node-opcua
