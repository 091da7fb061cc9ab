#!/bin/sh
# Track A, like with like: every method trained on the same images of the five folds, its threshold chosen by the fold's validation images,
# and judged on the images that the fold tests. Writes track-a.record.json, which the page of results repeats. About
# two and a half hours on two cores. Run again after an interruption: what is whole is kept, training goes on from its checkpoints.
#
#   PYTHON      python with the packages of requirements.txt         (default: work/venv/bin/python, which run.sh makes)
#   AORTICA     the program                                          (default: ../../target/release/aortica)
#   METHODS     which                                                (default: all four)
#   STEPS       steps of ours, in batches of 12                      (default 1600: as many samples as those of the paper)
#   PAPER_STEPS steps of each U-net of the paper, in batches of 4    (default 4688, its five epochs)
#   COMPILE     1: let torch fuse the networks' steps (needs a C++ compiler)
#   WORK        folder of tensors, checkpoints and the lake          (default: work/folds here)
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-work/venv/bin/python}
AORTICA=${AORTICA:-../../target/release/aortica}
METHODS=${METHODS:-vfa-forest vfa-unet-paper aortica vfa-unet-binary}
WORK=${WORK:-work/folds}
export PYTHON AORTICA WORK
mkdir -p "$WORK"

if [ ! -e "$WORK/complete" ]; then
    rm -rf "$WORK/cohort"
    "$AORTICA" phantom --participants 400 --seed 1946 --config track-a.toml --out "$WORK/cohort"
    touch "$WORK/complete"
fi
"$AORTICA" folds --truth "$WORK/cohort" --select 195 --min-total 1 --max-total 16 --folds 5 --validation 31 --seed 1 -o "$WORK/folds.csv"

# One thread each, two side by side.
for method in $METHODS; do for fold in 0 1 2 3 4; do echo "$fold $method"; done; done | xargs -P 2 -L 1 sh fold.sh

for fold in 0 1 2 3 4; do
    { echo uri; awk -F , -v fold="$fold" -v folder="$(cd "$WORK" && pwd)/cohort" '$1 == fold && $2 == "test" { print folder "/" $3 }' \
        "$WORK/folds.csv"; } > "$WORK/test-$fold.csv"
    for method in $METHODS; do
        "$AORTICA" score "$WORK/test-$fold.csv" --lake "$WORK/lake" --pipeline "$WORK/pipelines/$fold/$method" --json > "$WORK/$fold/$method.run.json"
    done
done
"$AORTICA" evaluate --lake "$WORK/lake" --truth "$WORK/cohort" --only "$WORK/folds.csv" --cross-validated --html "$WORK/comparison.html" --json \
    > "$WORK/evaluation.part"
mv "$WORK/evaluation.part" "$WORK/evaluation.json"
python3 folds.py --work "$WORK" --record track-a.record.json
