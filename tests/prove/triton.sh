#!/bin/sh
# A real Triton in place of our stage service, see triton.py. Needs a built program, the ONNX Runtime library and the system's python3 with venv;
# PyTriton, which brings the Triton, is installed under .cache/ on the first run.
set -eu
cd "$(dirname "$0")/../.."
venv=.cache/pytriton
from=tests/peers/inference/pytriton/requirements.txt
if ! cmp -s "$from" "$venv/requirements.txt"; then
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$from"
    cp "$from" "$venv/requirements.txt"
fi
ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.cache/onnxruntime/libonnxruntime.so}
export ORT_DYLIB_PATH
exec "$venv/bin/python" tests/prove/triton.py "$@"
