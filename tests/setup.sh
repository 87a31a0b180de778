#!/usr/bin/env bash
# Installs from the distribution what tests need and this machine lacks: counterparts that we did not
# write, and a browser. Says what it does; does nothing when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

# OPC UA counterparts from their registry, pinned, in a folder of their own.
asyncua=1.1.8
if ! target/asyncua/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('asyncua') != '$asyncua')" 2>/dev/null; then
  echo "installing asyncua $asyncua into target/asyncua"
  mkdir -p target
  python3 -m venv target/asyncua
  target/asyncua/bin/pip install -q --disable-pip-version-check "asyncua==$asyncua"
fi

declare -A package=(
  [chromium]=chromium
  [mosquitto_pub]=mosquitto-clients
  [mosquitto]=mosquitto
  [mbpoll]=mbpoll
  [script]=bsdutils
  [stdbuf]=coreutils
  [protoc]=protobuf-compiler
)
export PATH="$PATH:/usr/sbin"
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
/usr/bin/python3 -c 'import pymodbus' 2>/dev/null || missing+=(python3-pymodbus)
/usr/bin/python3 -c 'import paho.mqtt.client' 2>/dev/null || missing+=(python3-paho-mqtt)
[ ${#missing[@]} -eq 0 ] && exit 0

echo "tests need from the distribution: ${missing[*]}"
command -v apt-get >/dev/null || {
  echo "this is no Debian or Ubuntu: install the equivalents of these packages and run again" >&2
  exit 1
}
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
"${sudo[@]}" apt-get update -q
# RUNLEVEL=1: a broker is wanted as a program for tests, not started as a service.
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends "${missing[@]}"
