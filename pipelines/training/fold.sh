#!/bin/sh
# One method on one fold of track A: tensors, training, export, threshold by the fold's validation images, definition. `folds.sh` calls it.
# Run again after an interruption: what is whole is kept, training goes on from its checkpoint.
#
#   sh fold.sh FOLD METHOD     FOLD: 0 to 4; METHOD: vfa-forest, vfa-unet-binary, vfa-unet-paper, aortica
#
#   PYTHON, AORTICA, WORK, STEPS, PAPER_STEPS, COMPILE   as in folds.sh
set -eu
cd "$(dirname "$0")"
fold=$1 method=$2
PYTHON=${PYTHON:-work/venv/bin/python}
AORTICA=${AORTICA:-../../target/release/aortica}
WORK=${WORK:-work/folds}
here=$WORK/$fold
out=$WORK/pipelines/$fold/$method
shape=../vfa-unet/shape.json
[ ! -e "$out/complete" ] || exit 0

tensors() { # folder, part, more of training-set
    folder=$here/$1 part=$2; shift 2
    [ ! -e "$folder/complete" ] || return 0
    "$AORTICA" training-set --truth "$WORK/cohort" --folds "$WORK/folds.csv" --fold "$fold" --part "$part" --seed "$((fold + 1))" \
        --shape "$shape" --out "$folder" "$@"
    touch "$folder/complete"
}

trained() { # name of the network for export.py, then the command that trains it
    network=$1; shift
    "$PYTHON" "$@" --shards "$here/training" --validation "$here/validation" --checkpoint "$here/$method.pt" --seed "$((fold + 1))" \
        ${COMPILE:+--compile} > "$here/$method.txt" 2>&1 || { tail -n 5 "$here/$method.txt" >&2; exit 1; }
    "$PYTHON" export.py "$network" --checkpoint "$here/$method.pt" --golden "$here/validation" --out "$out" --version 1.0.0 \
        --seeds "Fold $fold of track A." > "$here/$method.export.json" 2>> "$here/$method.txt"
}

mkdir -p "$here" "$out"
# The definitions name `locate` and the shape model of a pipeline beside them.
[ -e "$WORK/pipelines/$fold/vfa-unet" ] || ln -s "$(cd ../vfa-unet && pwd)" "$WORK/pipelines/$fold/vfa-unet"
case $method in
    vfa-forest)
        tensors plain training --variants 0
        tensors validation validation
        "$AORTICA" train forest --training "$here/plain" --seed "$((fold + 1))" --out "$out/forest.bin"
        definition=../vfa-forest/pipeline.toml ;;
    vfa-unet-binary | vfa-unet-paper)
        tensors training training
        tensors validation validation
        case $method in vfa-unet-binary) classes=binary ;; *) classes=multi-class ;; esac
        trained "unet-$classes" unet_paper.py "$classes" --until "${PAPER_STEPS:-4688}"
        definition=definitions/$method.toml ;;
    aortica)
        tensors training training
        tensors validation validation
        trained segment segment.py --until "${STEPS:-1600}"
        definition=../aortica/pipeline.toml ;;
esac

# Without the calibration, which was fitted to other readings; the network is the fold's own.
sed -e '/^calibration = /d' -e 's|^model = "vfa-unet/segment".*|model = "segment"|' -e 's/^version = .*/version = "1.0.0"/' \
    "$definition" > "$out/pipeline.part"
mv "$out/pipeline.part" "$out/pipeline.toml"
"$AORTICA" train threshold --pipeline "$out" --validation "$here/validation" > "$here/$method.threshold.txt"
best=$(sed -n 's/^.* best: threshold \([0-9.]*\),.*/\1/p' "$here/$method.threshold.txt")
sed "s/^threshold = [^ ]*/threshold = $best/" "$out/pipeline.toml" > "$out/pipeline.part"
mv "$out/pipeline.part" "$out/pipeline.toml"
touch "$out/complete"
