#!/usr/bin/env bash
# The demo as a user starts it, then the page in a real browser and the command line, against it.
# With `--screenshots DIR` the page's pictures go there.
set -euo pipefail
cd "$(dirname "$0")/.."

shots=target/screenshots
[ "${1:-}" = --screenshots ] && shots=$2
bin=target/${PROFILE:-debug}
work=$(mktemp -d)
demo=
finish() {
  status=$?
  [ -z "$demo" ] || { kill -TERM "$demo" 2>/dev/null && wait "$demo" || true; }
  [ $status -eq 0 ] || { echo "--- the demo said:" >&2; tail -n 40 "$work/demo.log" >&2 || true; }
  rm -rf "$work"
  exit $status
}
trap finish EXIT

mkfifo "$work/up"
"$bin/demo" --json --port-base 0 --dir "$work/state" </dev/null >"$work/up" 2>"$work/demo.log" &
demo=$!
exec 3<"$work/up"
read -r -t 120 up <&3 || { echo "the demo did not come up" >&2; exit 1; }
of() { node -e 'console.log(JSON.parse(process.argv[1])[process.argv[2]])' "$up" "$1"; }

export TWINWAY_URL XDG_CONFIG_HOME="$work/config"
TWINWAY_URL=$(of cloud)
password=$(of password)
socket=$(of socket)

echo "command line:"
twinway() { "$bin/twinway" "$@"; }
echo "$password" | twinway login --user admin --password-stdin
twinway twins ls | grep -q plant/coating/line1/oven
twinway send line1/oven zone2_setpoint=118 --reason "end-to-end test" --wait
twinway twins get line1/oven --output json | grep -q '"zone2_setpoint"'
twinway history line1/oven zone2_temp --from -5m --format csv | head -n 3
# Refused by its limit: status 6, and nothing else.
set +e
twinway send line1/oven zone2_setpoint=500 --reason "too hot" --wait
status=$?
set -e
[ $status -eq 6 ] || { echo "a refused command ended with status $status" >&2; exit 1; }
twinway audit | grep -q zone2_setpoint
# An alarm for the page: the feed pump stands.
twinway send line1/pumps running=0 --reason "end-to-end test" --wait
twinway --socket "$socket" buffer status
twinway --socket "$socket" switch | grep -qi remote

echo "page:"
cd cloud/web
TWINWAY_USER=admin TWINWAY_PASSWORD=$password TWINWAY_SCREENSHOTS=$(realpath -m "../../$shots") node e2e/page.mjs
