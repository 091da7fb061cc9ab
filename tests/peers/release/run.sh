#!/usr/bin/env bash
# A release of the demo's lake, read by Python and, where it is installed, by R.
#   tests/peers/release/run.sh AORTICA LAKE
set -euo pipefail
cd "$(dirname "$0")/../../.."
aortica=$1 lake=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'threshold = 5\nstrata_at_once = 2\n' > "$work/study.toml"
"$aortica" release --lake "$lake" --name "peers" --policy "$work/study.toml" --rows -o "$work/release"
"${PYTHON:-python3}" tests/peers/release/read.py "$work/release"
if command -v Rscript > /dev/null; then
  Rscript tests/peers/release/read.R "$work/release"
else
  echo "SKIPPED: R is not installed (apt-get install r-base-core); the release was not read by R"
fi
# the files are as they were: reading wrote nothing
"$aortica" release verify "$work/release"
