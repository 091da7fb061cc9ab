#!/bin/sh
# The calibration of a pipeline (default aortica): 900 simulated participants of a seed that neither trained nor tested a network, read by the
# pipeline as it is, then `aortica train calibration`. Some five minutes on two cores. To be run again whenever a network or a rule of the pipeline
# changes; a new pipeline is scored without `[review] calibration` first. The same seed and models give the same bytes.
set -eu
cd "$(dirname "$0")"
pipeline=${1:-aortica}
top=../..
work=work/calibration
mkdir -p "$work"
(cd "$top" && cargo build --package aortica)
aortica=$top/target/debug/aortica

[ -e "$work/cohort/truth.parquet" ] || "$aortica" phantom --participants 900 --seed 810001 --out "$work/cohort"
rm -rf "$work/lake-$pipeline"
"$aortica" score "$work/cohort/images" --lake "$work/lake-$pipeline" --pipeline "../$pipeline"
"$aortica" train calibration --lake "$work/lake-$pipeline" --truth "$work/cohort" --pipeline "../$pipeline" --out "../$pipeline/certainty.json"
