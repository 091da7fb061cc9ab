#!/usr/bin/env bash
# The benchmarks of aortica; `bench.py` says what is measured and how. Arguments go to it: `run.sh --memory-images 10000`.
# Takes target/release/aortica where there is one, else the debug build, and then says so. Needs the ONNX Runtime library
# (`make runtime`), cargo, and python3 with venv; the Python packages of the peer are installed under .cache/ on the first run.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-target}
runtime=${ORT_DYLIB_PATH:-.cache/onnxruntime/libonnxruntime.so}
venv=.cache/peers
requirements=tests/peers/pipeline/requirements.txt

aortica=${AORTICA:-$target/release/aortica}
if [ ! -x "$aortica" ]; then
    aortica=$target/debug/aortica
    echo "bench: WARNING: there is no release build (make release); the debug build is measured" >&2
fi
[ -x "$aortica" ] || { echo "bench: no aortica to measure: run \`make release\`" >&2; exit 3; }
[ -e "$runtime" ] || { echo "bench: no ONNX Runtime library at $runtime: run \`make runtime\`" >&2; exit 3; }
if ! cmp -s "$requirements" "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    cp "$requirements" "$venv/requirements.txt"
fi
# The ceiling spends its time inside the library, so that its own build profile does not matter.
ceiling=${CEILING:-}
if [ -z "$ceiling" ]; then
    cargo build --quiet --locked -p inference --example ceiling
    ceiling=$target/debug/examples/ceiling
fi
exec "$venv/bin/python" tests/bench/bench.py --aortica "$aortica" --ceiling "$ceiling" --runtime "$runtime" "$@"
