#!/bin/sh
# Fetches the pinned ONNX Runtime library into the folder given (default .cache/onnxruntime) and prints its path.
# Needs python3 with pip, or python3-venv; the wheel's hash is checked by pip against requirements.txt.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
into=${1:-.cache/onnxruntime}
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$here/requirements.txt")
library="$into/libonnxruntime.so.$version"
if [ ! -s "$library" ]; then
    mkdir -p "$into"
    case $(uname -m) in
        x86_64) platform=manylinux_2_28_x86_64 ;;
        aarch64) platform=manylinux_2_28_aarch64 ;;
        *) echo "no ONNX Runtime wheel is pinned for $(uname -m); set ORT_DYLIB_PATH to a libonnxruntime.so of version $version" >&2; exit 3 ;;
    esac
    work=$(mktemp -d "$into/download.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python=python3
    if ! python3 -m pip --version >/dev/null 2>&1; then
        python3 -m venv "$work/venv" || { echo "python3 has neither pip nor venv: install python3-pip or python3-venv" >&2; exit 3; }
        python="$work/venv/bin/python"
    fi
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
        --python-version 3.11 --implementation cp --abi cp311 --platform "$platform" \
        --dest "$work" --requirement "$here/requirements.txt" >&2
    python3 - "$work" "$library" <<'PY'
import glob, os, shutil, sys, zipfile
work, library = sys.argv[1:]
(wheel,) = glob.glob(os.path.join(work, "*.whl"))
with zipfile.ZipFile(wheel) as archive:
    (member,) = [n for n in archive.namelist() if n.startswith("onnxruntime/capi/libonnxruntime.so")]
    with archive.open(member) as source, open(library + ".part", "wb") as target:
        shutil.copyfileobj(source, target)
os.replace(library + ".part", library)
PY
fi
ln -sf "libonnxruntime.so.$version" "$into/libonnxruntime.so"
echo "$(cd "$into" && pwd)/libonnxruntime.so.$version"
