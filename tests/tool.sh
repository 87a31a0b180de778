#!/usr/bin/env bash
# Installs a cargo tool of a fixed version into target/tools, once.
set -euo pipefail
cd "$(dirname "$0")/.."
case "$1" in
  cargo-deny) version=0.20.2 features=(--no-default-features) ;;
  *) echo "unknown tool $1" >&2; exit 2 ;;
esac
"target/tools/bin/$1" --version 2>/dev/null | grep -qF "$version" && exit 0
echo "installing $1 $version into target/tools"
cargo install --locked --root target/tools --target-dir target/tools/build --version "$version" "${features[@]}" "$1"
