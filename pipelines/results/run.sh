#!/bin/sh
# From nothing to docs/results.md: simulates the test cohorts from their seeds, scores each with every pipeline there is, evaluates them side by
# side (a page beside each), and writes the tables. `make results` calls it. Run again after an interruption: cohorts that are whole
# are kept, images that have their row are not read again. Needs 20 GB. Every number comes from `aortica evaluate --json`.
#
#   AORTICA       the program                                        (default: ../../target/release/aortica)
#   PARTICIPANTS  of the default population                          (default 1000)
#   OLDER         of the older, sicker, noisier population           (default 300)
#   ESTIMANDS     of the population for cohort estimands             (default 2000)
#   ESTIMANDS_BY  pipelines that score it                            (default: ours)
#   OURS          the pipeline that the targets are about            (default: aortica)
#   PIPELINES     which to score with                                (default: all that `aortica pipeline list` can run)
#   QUICK         1: a few participants of each, to try it           (default 0); not for numbers
#   WORK, OUT     folder of cohorts and lakes; file to write         (default: work/ here; docs/results.md, quick: work/results.md)
set -eu
cd "$(dirname "$0")/../.."
here=pipelines/results
AORTICA=${AORTICA:-target/release/aortica}
QUICK=${QUICK:-0}
WORK=${WORK:-$here/work}
if [ "$QUICK" = 1 ]; then
    WORK=$WORK/quick
    PARTICIPANTS=${PARTICIPANTS:-24} OLDER=${OLDER:-12} ESTIMANDS=${ESTIMANDS:-40}
    internal=12 external_c=8 external_d=8 track_a=40 selected=15 validation=2
    OUT=${OUT:-$WORK/results.md}
else
    PARTICIPANTS=${PARTICIPANTS:-1000} OLDER=${OLDER:-300} ESTIMANDS=${ESTIMANDS:-2000}
    internal=211 external_c=157 external_d=391 track_a=400 selected=195 validation=31
    OUT=${OUT:-docs/results.md}
fi
mkdir -p "$WORK"

"$AORTICA" pipeline list --json > "$WORK/pipelines.json"
runnable=$(python3 -c 'import json, sys; print(*[p["name"] for p in json.load(open(sys.argv[1])) if not p["problem"]])' "$WORK/pipelines.json")
PIPELINES=${PIPELINES:-$runnable}
OURS=${OURS:-aortica}
ESTIMANDS_BY=${ESTIMANDS_BY:-$OURS}

# Name of the set, seed, participants, pipelines, then more of `aortica phantom`.
cohort() {
    name=$1 seed=$2 participants=$3 pipelines=$4; shift 4
    folder=$WORK/$name
    mkdir -p "$folder"
    if [ ! -e "$folder/complete-$participants" ]; then
        # another size is another cohort
        rm -rf "$folder"; mkdir -p "$folder"
        "$AORTICA" phantom --participants "$participants" --seed "$seed" "$@" --out "$folder/cohort"
        touch "$folder/complete-$participants"
    fi
    for pipeline in $pipelines; do
        echo "$name: $pipeline"
        "$AORTICA" score "$folder/cohort/images" --lake "$folder/lake" --pipeline "$pipeline" --json > "$folder/$pipeline.part"
        mv "$folder/$pipeline.part" "$folder/$pipeline.run.json"
    done
    printf '{"name": "%s", "seed": %s, "participants": %s}\n' "$name" "$seed" "$participants" > "$folder/set.json"
}

evaluated() { # name of the set, more of `aortica evaluate`
    folder=$WORK/$1; shift
    "$AORTICA" evaluate --lake "$folder/lake" --truth "$folder/cohort" --html "$folder/comparison.html" --json "$@" > "$folder/evaluation.part"
    mv "$folder/evaluation.part" "$folder/evaluation.json"
}

# No seed was trained on: those of training are below 1000, 900001 and up, and 1947.
cohort default 700001 "$PARTICIPANTS" "$PIPELINES"
evaluated default

cohort track-a 1946 "$track_a" "$PIPELINES" --config pipelines/training/track-a.toml
"$AORTICA" folds --truth "$WORK/track-a/cohort" --select "$selected" --min-total 1 --max-total 16 --folds 5 --validation "$validation" --seed 1 \
    -o "$WORK/track-a/folds.csv"
evaluated track-a --only "$WORK/track-a/folds.csv"

cohort internal   700011 "$internal"   "$PIPELINES" --config $here/internal.toml
evaluated internal
cohort external-c 700012 "$external_c" "$PIPELINES" --config $here/external-c.toml
evaluated external-c
cohort external-d 700013 "$external_d" "$PIPELINES" --config $here/external-d.toml
evaluated external-d

cohort older 700021 "$OLDER" "$PIPELINES" --config $here/older.toml
evaluated older

cohort estimands 700031 "$ESTIMANDS" "$ESTIMANDS_BY" --config $here/estimands.toml
evaluated estimands --no-masks

python3 $here/write.py --work "$WORK" --ours "$OURS" --quick "$QUICK" --out "$OUT"
