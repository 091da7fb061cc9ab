#!/bin/sh
# The networks that are compared with: the U-nets of Chaplin & Cootes (vfa-unet-paper, vfa-unet-binary), LVLCRNet and its comparators
# (lvlcrnet, lvlnet, baseline). `run.sh` calls it after its own networks, whose shape model and `locate` these pipelines name.
# Run again after an interruption: tensors that are there are kept, training goes on from its checkpoints.
#
#   PYTHON      python with the packages of requirements.txt
#   STEPS       steps of each U-net and of each network that grades, two numbers  (default "4688 2000")
#   VERSION     version written into manifests and cards                          (default 1.0.0)
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-work/venv/bin/python}
set -- ${STEPS:-4688 2000}
unet_steps=$1 grade_steps=$2
version=${VERSION:-1.0.0}
ours=../vfa-unet
work=work/papers
learning=../../target/debug/aortica-learning
mkdir -p $work

"$PYTHON" -m unittest -q test_losses

tensors() { # folder, arguments of training-set
    folder=$1; shift
    [ -e "$folder/complete" ] && return
    "$learning" training-set "$@" --out "$folder"
    touch "$folder/complete"
}

# The paper draws 30 variants of each of 125 images; here 15 of 512.
tensors $work/segment                segment --seed 12     --count 7680 --variants 15 --shape "$ours/shape.json"
tensors $work/segment-validation     segment --seed 900012 --count 160  --variants 1  --shape "$ours/shape.json"
tensors $work/grade                  grade   --seed 21     --count 3570 --variants 6  --shape "$ours/shape.json" --input region --input spine
tensors $work/grade-validation       grade   --seed 900021 --count 200  --variants 1  --shape "$ours/shape.json" --input region --input spine
tensors $work/grade-image            grade   --seed 22     --count 6144 --variants 6  --input image
tensors $work/grade-image-validation grade   --seed 900022 --count 200  --variants 1  --input image

# Name of the network, folder of its shards, name of the pipeline, then the command that trains it.
network() {
    name=$1 data=$work/$2 out=../$3; shift 3
    "$PYTHON" "$@" --shards "$data" --validation "$data-validation" --checkpoint "$work/$name.pt" > "$work/$name.txt" 2>&1 ||
        { tail -n 5 "$work/$name.txt" >&2; exit 1; }
    mkdir -p "$out"
    "$PYTHON" export.py "$name" --checkpoint "$work/$name.pt" --golden "$data-validation" --out "$out" --version "$version" \
        --seeds "Seeds: $(seeds "$data")."
    # Last, so that no pipeline is listed before it is whole.
    cp "definitions/$(basename "$out").toml" "$out/pipeline.toml"
}

seeds() {
    case $1 in
        */segment) echo "shape model 101, training 12, validation 900012" ;;
        */grade) echo "shape model 101, training 21, validation 900021" ;;
        *) echo "training 22, validation 900022" ;;
    esac
}

network unet-multi-class segment     vfa-unet-paper  unet_paper.py multi-class --until "$unet_steps"
network unet-binary      segment     vfa-unet-binary unet_paper.py binary      --until "$unet_steps"
network lvlcrnet         grade       lvlcrnet        grade.py lvlcrnet --batch 24 --until "$grade_steps"
network lvlnet           grade       lvlnet          grade.py lvlnet   --batch 24 --until "$grade_steps"
network baseline         grade-image baseline        grade.py baseline --batch 24 --until "$grade_steps"
