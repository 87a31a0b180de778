#!/usr/bin/env bash
# Whether the package has to be built and booted again: with FULL=1, or when what makes it changed since it last passed here
# (target/cross/passed); where that is not known, with the last commit. Says why; status 1 if not.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${FULL:-0}" = 1 ]; then
  echo "packages: FULL=1" >&2
  exit 0
fi
since=$(cat target/cross/passed 2>/dev/null || true)
git cat-file -e "$since^{commit}" 2>/dev/null || since=HEAD^
git cat-file -e "$since^{commit}" 2>/dev/null || exit 0
found=$(git diff --name-only "$since" HEAD -- cross systemd config/box gateway/daemon/src/main.rs gateway/daemon/src/systemd.rs)
[ -n "$found" ] || exit 1
echo "packages: changed since $(git rev-parse --short "$since"): $(head -n5 <<< "$found" | tr '\n' ' ')" >&2
