"""Keeps what `aortica evaluate --cross-validated --json` printed of the folds of track A (folds.sh) in a record of a few lines a method.

    python3 folds.py --work work/folds --record track-a.record.json

Nothing is computed here but the difference of two numbers of the evaluation.
"""

import argparse
import json
from pathlib import Path

FOLDS = 5
OURS, PAPER = "aortica", "vfa-unet-paper"
# What is kept of a method, by its pointer in the evaluation; the page of results reads it by the same.
KEPT = [
    "/masks/0/dice",
    "/masks/0/dice_sd",
    "/masks/0/jaccard",
    "/masks/0/accuracy",
    "/masks/0/hd95_mm",
    "/r2_identity",
    "/all/scored",
    "/all/totals/r2/ols",
    "/all/totals/r2/origin_centred",
    "/all/totals/r2/origin_uncentred",
    "/all/totals/icc_2_1",
    "/all/totals/difference/mae",
    "/all/totals/difference/bias",
    "/all/totals/pearson",
    "/all/totals/spearman",
    "/all/totals/categories/accuracy",
    "/all/totals/categories/kappa_linear",
    "/all/segments/0/same",
]


def at(value, pointer):
    for step in pointer.strip("/").split("/"):
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def training_of(folder, method):
    """The last line that its training printed, and the threshold that was chosen, by fold."""
    folds = []
    for fold in range(FOLDS):
        here = folder / str(fold)
        told = (here / f"{method}.threshold.txt").read_text().splitlines()[-1]
        facts = {"threshold": float(told.split("threshold ")[1].split(",")[0])}
        export = here / f"{method}.export.json"
        if export.exists():
            made = json.loads(export.read_text())
            facts |= {name: made[name] for name in ("step", "samples", "distinct_samples", "parameters", "digest")}
        folds.append(facts)
    return folds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--record", type=Path, required=True)
    options = parser.parse_args()
    evaluation = json.loads((options.work / "evaluation.json").read_text())
    methods = {}
    for method in evaluation["methods"]:
        name = method["name"].split(" ")[0]
        methods[name] = {
            "without_row": method["without_row"],
            "folds": training_of(options.work, name),
            "measures": {pointer: at(method, pointer) for pointer in KEPT},
        }
    record = {"case_mix": evaluation["case_mix"], "methods": methods}
    dice = {name: method["measures"]["/masks/0/dice"]["estimate"] for name, method in methods.items()}
    if OURS in dice and PAPER in dice:
        record["dice_above_multi_class_recipe"] = round(dice[OURS] - dice[PAPER], 4)
    options.record.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(dice | {"above": record.get("dice_above_multi_class_recipe")}))


if __name__ == "__main__":
    main()
