#!/usr/bin/env bash
# The benchmark of the statistics; `statistics_speed.py` says what is measured and how. Arguments go to it. Needs a release build of the
# example `statistics_speed` (`make bench` builds it) and python3 with venv; DuckDB is installed under .cache/ on the first run.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
speed=${SPEED:-$target/release/examples/statistics_speed}
[ -x "$speed" ] || { echo "bench: no $speed: run \`cargo build --release --workspace --bins --examples\`" >&2; exit 3; }
from=tests/bench/statistics.txt venv=.cache/duckdb
if ! cmp -s "$from" "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$from"
    cp "$from" "$venv/requirements.txt"
fi
exec "$venv/bin/python" tests/bench/statistics_speed.py --speed "$speed" "$@"
