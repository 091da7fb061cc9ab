#!/bin/sh
# From nothing to ../vfa-forest/forest.bin: a cohort like that of Chaplin and Cootes with a seed of its own (track A has 1946), regions of fold 0,
# forest. About five minutes on two cores. Prints Dice and accuracy on the validation images; the threshold of best Dice belongs into
# ../vfa-forest/pipeline.toml. The same seeds give the same bytes.
set -eu
cd "$(dirname "$0")"
top=../..
work=work/forest
mkdir -p "$work"
(cd "$top" && cargo build --package aortica)
aortica=$top/target/debug/aortica

if [ ! -e "$work/complete" ]; then
    "$aortica" phantom --participants 400 --seed 1947 --config track-a.toml --out "$work/cohort"
    "$aortica" folds --truth "$work/cohort" --select 195 --min-total 1 --max-total 16 --folds 5 --validation 31 --seed 1 -o "$work/folds.csv"
    for part in training validation test; do
        "$aortica" training-set --truth "$work/cohort" --folds "$work/folds.csv" --fold 0 --part "$part" --variants 0 --seed 1 \
            --shape ../vfa-unet/shape.json --out "$work/$part"
    done
    touch "$work/complete"
fi
"$aortica" train forest --training "$work/training" --validation "$work/validation" --seed 1 --out ../vfa-forest/forest.bin
