"""How far the readings of the networks in int8 and fp16 agree with those in fp32, and how fast each is on this machine.

    precision.py --aortica target/release/aortica --participants 300 --seed 31337 [--record precision.json]

An agreement counts segments: the same grade, or not assessable in both. The same images are scored by each form of the
networks; the times are those of whole runs, one after the other, and say nothing of machines of other kinds.
"""
import argparse
import csv
import io
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

SEGMENTS = [f"aac_l{level}_{wall}" for level in range(1, 5) for wall in ("ant", "post")]


def compare(reference, other):
    """Both: rows by image id. What changes, of the images that `reference` scores."""
    scored = {image: row for image, row in reference.items() if row["status"] == "scored"}
    both = [(row, other[image]) for image, row in scored.items() if other[image]["status"] == "scored"]
    segments = sum(a[s] != b[s] for a, b in both for s in SEGMENTS)
    totals = [abs(int(a["aac24_total"]) - int(b["aac24_total"])) for a, b in both if a["aac24_total"] and b["aac24_total"]]
    share = lambda part, whole: round(100 * part / whole, 3)
    return {
        "outcomes_changed": sum(row["status"] != other[image]["status"] for image, row in reference.items()),
        "segments": len(both) * len(SEGMENTS),
        "segments_agree_pct": share(len(both) * len(SEGMENTS) - segments, len(both) * len(SEGMENTS)),
        "readings_changed_pct": share(sum(any(a[s] != b[s] for s in SEGMENTS) for a, b in both), len(both)),
        "totals_changed_pct": share(sum(a["aac24_total"] != b["aac24_total"] for a, b in both), len(both)),
        "largest_change_of_total": max(totals, default=0),
        "categories_changed_pct": share(sum(a["aac24_cat"] != b["aac24_cat"] for a, b in both), len(both)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", default="target/debug/aortica")
    parser.add_argument("--participants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=31337)
    parser.add_argument("--precisions", nargs="+", default=["int8", "fp16"])
    parser.add_argument("--least", type=float, default=99.0, help="segments that must agree where a form is the default, %%")
    parser.add_argument("--record", type=pathlib.Path)
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="aortica-precision."))
    (work / "settings.toml").write_text(f'[study]\nkey_file = "{work}/study.key"\n')
    program = [args.aortica, "--settings", str(work / "settings.toml")]
    run = lambda *words: subprocess.run([*program, *map(str, words)], check=True, capture_output=True, text=True).stdout
    run("phantom", "--participants", args.participants, "--seed", args.seed, "--out", work / "cohort")
    tables, seconds, evaluations = {}, {}, {}
    default = json.loads(run("pipeline", "show", "--json"))["models"]
    for precision in ["fp32", *args.precisions]:
        lake = work / precision
        begin = time.monotonic()
        run("score", work / "cohort/images", "--lake", lake, "--precision", precision)
        seconds[precision] = time.monotonic() - begin
        text = run("query", "--lake", lake, "--format", "csv", f"SELECT image_id, status, aac24_total, aac24_cat, {', '.join(SEGMENTS)} FROM readings")
        tables[precision] = {row["image_id"]: row for row in csv.DictReader(io.StringIO(text))}
        evaluations[precision] = json.loads(run("evaluate", "--lake", lake, "--truth", work / "cohort", "--json"))
    record = {
        "participants": args.participants, "seed": args.seed, "processor": processor(), "cores": os.cpu_count(),
        "default": {model["name"]: model["precision"] for model in default},
        "images_per_s": {precision: round(len(tables[precision]) / s, 1) for precision, s in seconds.items()},
        "against_fp32": {precision: compare(tables["fp32"], tables[precision]) for precision in args.precisions},
        "against_truth": {precision: summary(found) for precision, found in evaluations.items()},
    }
    print(json.dumps(record, indent=2))
    if args.record:
        args.record.write_text(json.dumps(record, indent=2) + "\n")
    shutil.rmtree(work)
    for precision in set(record["default"].values()) - {"fp32"}:
        agree = record["against_fp32"][precision]["segments_agree_pct"]
        if agree < args.least:
            sys.exit(f"{precision} is the default, and only {agree} % of segments agree with fp32")


def summary(evaluation):
    """The figures of the whole cohort."""
    found = evaluation["methods"][0]["all"]
    totals = found["totals"]
    return {
        "scored_pct": percent(found["scored"]),
        "falsely_not_assessable_pct": percent(found["assessability"]["falsely_not_assessable"]),
        "falsely_assessed_pct": percent(found["assessability"]["falsely_assessed"]),
        "corner_error_mean_pct": found["localisation"]["corner_error_pct"]["estimate"],
        "level_shifted_pct": percent(found["localisation"]["level_shifted"]),
        "totals": totals["images"],
        "spearman": totals["spearman"]["estimate"],
        "mae": totals["difference"]["mae"]["estimate"],
        "bias": totals["difference"]["bias"]["estimate"],
        "r2_identity": totals["r2"]["identity"]["estimate"],
        "category_accuracy_pct": percent(totals["categories"]["accuracy"]),
        "zero_given_zero": totals["zero_given_zero"]["estimate"],
        "segment_agreement_pct": percent(found["segments"][0]["same"]),
    }


def percent(share):
    return None if share["estimate"] is None else 100 * share["estimate"]


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if os.path.exists("/proc/cpuinfo") else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
