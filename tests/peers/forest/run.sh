#!/bin/sh
# The forest of pipelines/vfa-forest against scikit-image and scikit-learn: features, maps, speed. Needs a release build (`make release`) and
# python3 with venv; the packages are installed under .cache/ on the first run. On a quiet machine: it times.
#
#   tests/peers/forest/run.sh [--patches N] [--images N]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
venv="$root/.cache/peers-forest"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cd "$root"
cargo build --quiet --release -p scoring --example forest
target="${CARGO_TARGET_DIR:-$root/target}/release"
work="$venv/work"
if [ ! -f "$work/complete" ]; then
    rm -rf "$work"
    mkdir -p "$work"
    "$target/aortica" phantom --participants 130 --seed 77 --config pipelines/training/track-a.toml --out "$work/cohort"
    "$target/aortica" folds --truth "$work/cohort" --select 60 --min-total 1 --max-total 16 --folds 4 --validation 5 --seed 1 -o "$work/folds.csv"
    for part in training test; do
        "$target/aortica" training-set --truth "$work/cohort" --folds "$work/folds.csv" --fold 0 --part $part --variants 0 --seed 1 \
            --shape pipelines/vfa-unet/shape.json --out "$work/$part"
    done
    touch "$work/complete"
fi
exec "$venv/bin/python" "$here/compare.py" "$target/examples/forest" pipelines/vfa-forest/forest.bin "$work/training" "$work/test" "$@"
