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
# GDCM speaks of what it does not read and write; that is of interest only when something fails.
for script in compare transcoded; do
    "$venv/bin/python" "$here/$script.py" "$dump" "$here/TABLE.md" 2>"$venv/$script.log" || { cat "$venv/$script.log"; exit 1; }
done
