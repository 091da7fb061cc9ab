#!/bin/sh
# Pictures of other things, see others.py. Needs a built program and python3 with venv; pydicom is installed under .cache/ on the first run.
set -eu
cd "$(dirname "$0")/../.."
venv=.cache/peers-decoding
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/peers/decoding/requirements.txt
exec "$venv/bin/python" tests/prove/others.py "$@"
