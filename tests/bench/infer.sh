#!/usr/bin/env bash
# The benchmark of the stage service; `infer.py` says what is measured and how. Arguments go to it.
# Needs a release build, the ONNX Runtime library, and python3 with venv; MLServer and PyTriton (with its Triton) are installed
# under .cache/ on the first run. PyTriton's server needs the system's own python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
aortica=${AORTICA:-$target/release/aortica}
runtime=${ORT_DYLIB_PATH:-.cache/onnxruntime/libonnxruntime.so}
[ -x "$aortica" ] || { echo "bench: no release build to measure: run \`make release\`" >&2; exit 3; }
install() { # name, python
    local from=tests/peers/inference/$1/requirements.txt venv=.cache/$1
    cmp -s "$from" "$venv/requirements.txt" && return
    "$2" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$from"
    cp "$from" "$venv/requirements.txt"
}
install mlserver python3
install pytriton /usr/bin/python3
examples=$target/debug/examples
if [ -z "${CEILING:-}" ] || [ -z "${LOAD:-}" ]; then cargo build --quiet --locked -p inference --examples; fi
exec .cache/mlserver/bin/python tests/bench/infer.py --aortica "$aortica" --ceiling "${CEILING:-$examples/ceiling}" \
    --load "${LOAD:-$examples/load}" --runtime "$runtime" --mlserver .cache/mlserver/bin/python --pytriton .cache/pytriton/bin/python "$@"
