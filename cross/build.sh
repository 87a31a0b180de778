#!/usr/bin/env bash
# Builds programs for an architecture, as they go into packages: `cross/build.sh ARCH [PACKAGE...]`, by default all three. The gateway
# is the command line as well, when it is called `twinway`. They lie in target/cross/build/TRIPLE/PROFILE afterwards, with their
# symbols. Environment: PROFILE (dist), CARGO, FEATURES (arguments about features for cargo).
set -euo pipefail
cd "$(dirname "$0")/.."
wanted=${1:?architecture}
shift
packages=("${@:-}")
[ -n "${packages[0]}" ] || packages=(twinway-gateway twinway-cloud twinway)
profile=${PROFILE:-dist}

OFFLINE=${OFFLINE:-0} cross/setup.sh "$wanted"
. "target/cross/env-$wanted.sh"
# What `version` tells. Not the time: the same sources give the same bytes.
TWINWAY_COMMIT=$(git describe --always --dirty --abbrev=12)
TWINWAY_SETTINGS="$("${RUSTC:-rustc}" --version | cut -d' ' -f1,2), profile $profile, $triple${FEATURES:+, $FEATURES}"
export TWINWAY_COMMIT TWINWAY_SETTINGS
[ "${cargo_build[0]}" != cargo ] || cargo_build[0]=${CARGO:-cargo}
# shellcheck disable=SC2086 # several arguments
exec "${cargo_build[@]}" "${cargo_flags[@]}" --locked --profile "$profile" --target "$triple" ${FEATURES:-} "${packages[@]/#/--package=}"
