#!/bin/sh
# Decodes pydicom's test files here and there, and writes TABLE.md beside this script. Needs cargo and python3 with venv;
# the Python packages are installed under .cache/ on the first run. Exits with 1 when a file decodes differently.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
venv="$root/.cache/peers-decoding"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cd "$root"
cargo build --quiet -p imaging --example dump_stored
dump="${CARGO_TARGET_DIR:-$root/target}/debug/examples/dump_stored"
"$venv/bin/python" "$here/compare.py" "$dump" "$here/TABLE.md"
# GDCM speaks of what it does not encode; that is not of interest here.
"$venv/bin/python" "$here/transcoded.py" "$dump" "$here/TABLE.md" 2>"$venv/transcoded.log" || { cat "$venv/transcoded.log"; exit 1; }
