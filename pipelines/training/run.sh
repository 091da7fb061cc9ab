#!/bin/sh
# From nothing to the models of pipelines/vfa-unet (shape model, training tensors, both networks, export), then to those of the
# pipelines that it is compared with (papers.sh).
# Run again after an interruption: tensors that are there are kept, training goes on from its checkpoints.
#
#   PYTHON      python with the packages of requirements.txt      (default: a virtual environment is made in work/venv)
#   STEPS       steps of `locate` and of `segment`, two numbers    (default "12000 8000")
#   PAPER_STEPS steps of the others, see papers.sh                 (default "4688 2000")
#   VERSION     version written into manifests and cards           (default 1.0.0)
set -eu
cd "$(dirname "$0")"
top=../..
out=../vfa-unet
mkdir -p work

if [ -z "${PYTHON:-}" ]; then
    [ -x work/venv/bin/python ] || python3 -m venv work/venv
    PYTHON=work/venv/bin/python
    "$PYTHON" -m pip install --quiet --requirement requirements.txt
fi
set -- ${STEPS:-12000 8000}
locate_steps=$1 segment_steps=$2
version=${VERSION:-1.0.0}

(cd "$top" && cargo build --package learning --bin aortica-learning)
learning=$top/target/debug/aortica-learning

# A set is whole when this mark is there; one that was interrupted is made again (the same seed gives the same bytes).
tensors() { # folder, arguments of training-set
    folder=$1; shift
    [ -e "$folder/complete" ] && return
    "$learning" training-set "$@" --out "$folder"
    touch "$folder/complete"
}

"$learning" fit-shape --seed 101 --count 1500 --out "$out/shape.json"
tensors work/locate             locate  --seed 1      --count 16000
tensors work/locate-radiographs locate  --seed 7      --count 12000 --config radiographs.toml
tensors work/locate-validation  locate  --seed 900001 --count 256 --variants 1
tensors work/segment            segment --seed 2      --count 30000 --shape "$out/shape.json"
tensors work/segment-validation segment --seed 900002 --count 192 --variants 1 --shape "$out/shape.json"

# One thread each, side by side.
"$PYTHON" locate.py  --shards work/locate work/locate-radiographs --validation work/locate-validation  --checkpoint work/locate.pt \
    --until "$locate_steps" > work/locate.txt 2>&1 &
locate=$!
"$PYTHON" segment.py --shards work/segment --validation work/segment-validation --checkpoint work/segment.pt \
    --until "$segment_steps" > work/segment.txt 2>&1 || { tail -n 5 work/segment.txt >&2; exit 1; }
wait "$locate" || { tail -n 5 work/locate.txt >&2; exit 1; }

"$PYTHON" export.py locate  --checkpoint work/locate.pt  --golden work/locate-validation  --out "$out" --version "$version" \
    --seeds "Seeds: shape model 101, training 1 and 7, validation 900001."
"$PYTHON" export.py segment --checkpoint work/segment.pt --golden work/segment-validation --out "$out" --version "$version" \
    --seeds "Seeds: shape model 101, training 2, validation 900002."

"$PYTHON" precisions.py locate  --calibration work/locate  --golden work/locate-validation  --folder "$out"
"$PYTHON" precisions.py segment --calibration work/segment --golden work/segment-validation --folder "$out"

PYTHON="$PYTHON" STEPS="${PAPER_STEPS:-}" VERSION="$version" sh papers.sh
