"""Writes docs/results.md out of what `aortica evaluate --json` printed for each test cohort (run.sh).

    python3 write.py --work work --ours aortica --quick 0 --out ../../docs/results.md

Nothing is computed here but differences and ratios of two numbers of one evaluation; a number that an evaluation lacks is said to be missing.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

SETS = [
    ("default", "default population", "the frozen default phantom"),
    ("track-a", "track A", "195 Hologic images with calcium, `pipelines/training/track-a.toml`"),
    ("internal", "track B, internal", "sites A and B"),
    ("external-c", "track B, external C", "site C, other scanners"),
    ("external-d", "track B, external D", "site D, other scanners"),
    ("older", "older and sicker", "more calcium, fractures, noise and blur"),
    ("estimands", "cohort estimands", "a population of its own, followed for events"),
]
# The pipelines of both papers, ours, and that of docs/train-your-own.md, in the order of the tables.
ORDER = ["vfa-forest", "vfa-unet-binary", "vfa-unet-paper", "baseline", "lvlnet", "lvlcrnet", "aortica"]
SEVEN = ["vfa-forest", "vfa-unet-binary", "vfa-unet-paper", "baseline", "lvlnet", "lvlcrnet"]
NOTHING = "-"
ROOT = Path(__file__).resolve().parents[2]
MISSING = "not measured here"


@dataclass
class Measure:
    """A row of the tables of measures."""

    name: str
    pointer: str
    scale: float = 1.0
    digits: int = 3


MEASURES = [
    Measure("scored, % of assessable images", "/all/scored", 100, 1),
    Measure("other views excluded, %", "/negatives_excluded", 100, 1),
    Measure("R2, identity line", "/r2_identity"),
    Measure("R2, least squares", "/all/totals/r2/ols"),
    Measure("R2, through the origin, centred", "/all/totals/r2/origin_centred"),
    Measure("R2, through the origin, uncentred", "/all/totals/r2/origin_uncentred"),
    Measure("ICC(2,1)", "/all/totals/icc_2_1"),
    Measure("mean absolute error, points", "/all/totals/difference/mae", 1, 2),
    Measure("bias, points", "/all/totals/difference/bias", 1, 2),
    Measure("Pearson", "/all/totals/pearson"),
    Measure("Spearman", "/all/totals/spearman"),
    Measure("category right, %", "/all/totals/categories/accuracy", 100, 1),
    Measure("kappa of categories, linear", "/all/totals/categories/kappa_linear"),
    Measure("segments right, %", "/all/segments/0/same", 100, 1),
    Measure("Dice, either wall", "/masks/0/dice"),
    Measure("Jaccard, either wall", "/masks/0/jaccard"),
    Measure("pixel accuracy, either wall, %", "/masks/0/accuracy", 100, 2),
    Measure("HD95, either wall, mm", "/masks/0/hd95_mm", 1, 2),
]


def at(value, pointer):
    """A part of a JSON value by its pointer; None where there is none."""
    for step in pointer.strip("/").split("/"):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        elif isinstance(value, dict):
            value = value.get(step)
        if value is None:
            return None
    return value


def number(value, scale=1.0, digits=3):
    if value is None:
        return NOTHING
    text = f"{value * scale:.{digits}f}"
    return text[1:] if text.startswith("-") and float(text) == 0 else text


def interval(estimate, scale=1.0, digits=3):
    """`value [low, high]` of an estimate."""
    if not estimate or estimate.get("estimate") is None:
        return NOTHING
    text = number(estimate["estimate"], scale, digits)
    if estimate.get("conf_low") is None or estimate.get("conf_high") is None:
        return text
    return f"{text} [{number(estimate['conf_low'], scale, digits)}, {number(estimate['conf_high'], scale, digits)}]"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


class Set:
    """A test cohort: what it was made of, and its evaluation by pipeline."""

    def __init__(self, folder, title, what):
        self.title, self.what = title, what
        self.made = json.loads((folder / "set.json").read_text())
        self.evaluation = json.loads((folder / "evaluation.json").read_text())
        config = (folder / "cohort" / "phantom.toml").read_bytes()
        self.digest = hashlib.sha256(config).hexdigest()[:12]
        # a lake that was scored before a pipeline changed holds the older readings too
        runs = {path.name.split(".")[0]: json.loads(path.read_text()) for path in folder.glob("*.run.json")}
        fingerprints = {run["fingerprint"]: name for name, run in runs.items()}
        self.methods = {
            fingerprints[method["fingerprint"]]: method
            for method in self.evaluation["methods"]
            if method["fingerprint"] in fingerprints
        }

    def names(self):
        known = [name for name in ORDER if name in self.methods]
        return known + sorted(set(self.methods) - set(known))

    def get(self, pipeline, pointer):
        return at(self.methods[pipeline], pointer) if pipeline in self.methods else None

    def mix(self):
        mix = self.evaluation["case_mix"]
        return (
            f"{mix['images']} images, {mix['negatives']} of other views, {mix['assessable']} assessable: {mix['total_zero']} of total 0; "
            f"{mix['low']} low, {mix['moderate']} moderate, {mix['high']} high; mean {number(mix['mean_total'], 1, 2)}"
        )


class Targets:
    """What is asked of ours and of the comparison, with what was found."""

    def __init__(self):
        self.rows = []

    def add(self, target, found, met):
        verdict = {True: "met", False: "**missed**", None: NOTHING}[met]
        self.rows.append([target, found, verdict])

    def judge(self, target, estimate, met, scale=1.0, digits=3, more=""):
        """`met` is asked of the estimate itself; its interval stands beside it."""
        value = (estimate or {}).get("estimate")
        if value is None:
            self.add(target, MISSING, None)
        else:
            self.add(target, interval(estimate, scale, digits) + more, met(value * scale))

    def low_high(self, target, estimate):
        """Of errors from low to high or back, which a good method does not make: none is no lack of a measurement."""
        if estimate is not None and estimate["n"] == 0:
            self.add(target, "there is none", True)
        else:
            self.judge(target, estimate, lambda v: v >= 95, 100, 1)

    def number(self, target, value, met, digits=3, more=""):
        if value is None:
            self.add(target, MISSING, None)
        else:
            self.add(target, number(value, 1, digits) + more, met(value))


def targets(sets, ours):
    found = Targets()
    default, older, cohort = (sets.get(name) for name in ("default", "older", "estimands"))

    def of(group, pointer):
        return group.get(ours, pointer) if group else None

    names = default.names() if default else []
    there = [name for name in SEVEN if name in names]
    also = "ours and " + (", ".join(there) if there else "none of the six")
    found.add("all seven pipelines run by `score --pipeline NAME`", also, len(there) == len(SEVEN) and ours in names)

    target = "track A: Dice at least .15 above the multi-class recipe, same images and folds"
    folds = in_folds()
    apart = folds.get("dice_above_multi_class_recipe")
    if apart is None:
        found.add(target, MISSING, None)
    else:
        own, paper = (interval(folds["methods"][name]["measures"]["/masks/0/dice"]) for name in ("aortica", "vfa-unet-paper"))
        found.add(target, f"{number(apart)} ({own} against {paper}), both trained in the folds", apart >= 0.15)

    three = [default.get(name, "/r2_identity/estimate") if default else None for name in ("baseline", "lvlnet", "lvlcrnet")]
    if None in three:
        found.add("track B: baseline < lvlnet < lvlcrnet", MISSING, None)
    else:
        said = " / ".join(number(value) for value in three) + " (R2, identity line)"
        found.add("track B: baseline < lvlnet < lvlcrnet", said, three[0] < three[1] < three[2])

    totals = "/all/totals"
    found.judge("R2 (identity line) >= .90", of(default, "/r2_identity"), lambda v: v >= 0.90)
    found.judge("ICC(2,1) >= .95", of(default, f"{totals}/icc_2_1"), lambda v: v >= 0.95)
    found.judge("mean absolute error <= 1.2", of(default, f"{totals}/difference/mae"), lambda v: v <= 1.2, 1, 2)
    found.judge("plain 3-class accuracy >= 88 %", of(default, f"{totals}/categories/accuracy"), lambda v: v >= 88, 100, 1)
    found.judge("bias within +-.2", of(default, f"{totals}/difference/bias"), lambda v: abs(v) <= 0.2, 1, 2)
    beside = of(default, "/readers/other")
    if beside:
        said = f"{interval(beside['difference'])} (method {interval(beside['icc_of_method'])}, second reader {interval(beside['icc_of_readers'])})"
        found.add("ICC with reader A no worse than reader B's (lower limit of the difference above -.02)", said, beside["no_worse"])

    truth, read = of(cohort, f"{totals}/prevalence_reference/estimate"), of(cohort, f"{totals}/prevalence_model/estimate")
    if truth is None or read is None:
        found.add("prevalence of AAC > 0 within 3 points of truth's", MISSING, None)
    else:
        expected = of(cohort, "/all/certainty/prevalence_expected/estimate")
        said = f"{number(read, 100, 1)} % by counting readings, {number(expected, 100, 1)} % expected from their probabilities, for {number(truth, 100, 1)} %"
        best = read if expected is None else expected
        found.add("prevalence of AAC > 0 (from probabilities where there are some) within 3 points of truth's", said, abs(best - truth) <= 0.03)
    for place, category in enumerate(["moderate", "high"]):
        target = f"hazard ratio of {category} against low within 10 % of truth's"
        ratio = of(cohort, f"/hazards/ratio/{place}")
        if ratio is None:
            found.add(target, MISSING, None)
        else:
            model, reference = of(cohort, f"/hazards/model/{place}"), of(cohort, f"/hazards/reference/{place}")
            events = of(cohort, "/hazards/events")
            said = f"{interval(model, 1, 2)} for {interval(reference, 1, 2)}, {events} events"
            found.add(target, said, abs(ratio - 1) <= 0.10)

    found.judge("older, sicker, more fractures, more noise: R2 >= .83", of(older, "/r2_identity"), lambda v: v >= 0.83)
    found.add("one scanner style left out of training: R2 >= .83", MISSING + ": the shipped models saw every style", None)

    place = "/all/localisation"
    found.judge("mean corner error <= 3.5 % of vertebral height", of(default, f"{place}/corner_error_pct"), lambda v: v <= 3.5, 1, 2)
    found.number("95th percentile of corner errors <= 9 %", of(default, f"{place}/corner_error_p95_pct"), lambda v: v <= 9, 2)
    found.judge("level shift <= .5 %", of(default, f"{place}/level_shifted"), lambda v: v <= 0.5, 100, 2)
    found.judge(">= 99 % of assessable images scored", of(default, "/all/scored"), lambda v: v >= 99, 100, 1)
    found.judge("phantom negatives excluded >= 98 %", of(default, "/negatives_excluded"), lambda v: v >= 98, 100, 1)
    found.add("real CT, MR and chest images of public test sets excluded >= 98 %", MISSING + ": tests/prove/others.json", None)

    found.number("calibration error of segments, reported", of(default, "/all/certainty/expected_calibration_error"), lambda _: True)
    curve = of(default, "/all/certainty/abstention") or []
    kept = {wanted: curve[place]["category_accuracy"] for place, wanted in ((0, 0), (3, 20)) if place < len(curve)}
    fifth = of(default, "/all/certainty/most_doubtful_fifth")
    target = "review of 20 % finds >= 60 % of category errors"
    if fifth:
        found.judge(target, fifth["category_errors_found"], lambda v: v >= 60, 100, 1)
        found.low_high("review of 20 % finds >= 95 % of low for high and the reverse", fifth["low_high_found"])
    elif any(kept.get(wanted, {}).get("estimate") is None for wanted in (0, 20)):
        found.add(target, MISSING, None)
    else:
        errors = {wanted: row["n"] * (1 - row["estimate"]) for wanted, row in kept.items()}
        share = 100 * (1 - errors[20] / errors[0]) if errors[0] > 0.5 else None
        found.number(target, share, lambda v: v >= 60, 1, f" % of {errors[0]:.0f} errors, least sure images first")
    flag = of(default, "/all/certainty/flag") or {}
    said = f", at a review rate of {interval(flag.get('flagged'), 100, 1)} %"
    found.judge("the flag finds >= 60 % of category errors", flag.get("category_errors_found"), lambda v: v >= 60, 100, 1, said)
    found.low_high("the flag finds >= 95 % of low for high and the reverse", flag.get("low_high_found"))
    covered, width = (of(default, f"/all/certainty/interval/all/{name}") for name in ("covered", "mean_width"))
    said = f" %, mean width {number(width, 1, 2)} points"
    found.judge("interval of the total covers 93 to 97 %", covered, lambda v: 93 <= v <= 97, 100, 1, said)
    for band in of(default, "/all/certainty/interval/by_band") or []:
        said = f"{interval(band['covered'], 100, 1)} %, mean width {number(band['mean_width'], 1, 2)} points"
        found.add(f"coverage of band {band['of']}, reported", said, True if band["covered"]["estimate"] is not None else None)
    found.add("real films: six overlays right by eye", MISSING + ": README.md, What it does", None)
    timed(found)
    return table(["target", "found", ""], found.rows)


def timed(found):
    """Speeds are not measured here but on a quiet machine; what their benchmarks kept is repeated."""
    bench = json.loads((ROOT / "tests/bench/record.json").read_text())
    raster = "{} x {}".format(*bench["facts"]["raster"])
    rate = bench["summary"]["aortica"]["images_per_s"]
    said = f"{rate:.1f} (tests/bench/record.json, {bench['facts']['cpu']}, {bench['facts']['date']})"
    found.add(f"images/s of ours on {bench['facts']['cores']} cores, {raster}, to committed row: >= 12", said, rate >= 12)
    forest = json.loads((ROOT / "tests/peers/forest/record.json").read_text())
    times = forest["times_faster_than_numpy_and_scikit_learn"]
    more = f"; {forest['times_faster_than_scikit_image']:.0f} with scikit-image's own features"
    said = f"{times:.1f}{more} (tests/peers/forest/record.json, {forest['cpu']}, {forest['date']})"
    found.add("forest, times faster than in Python with scikit-learn: >= 5", said, times >= 5)


def in_folds():
    """What the methods reach that were trained in the folds of track A: hours of training, kept by pipelines/training/folds.sh."""
    record = ROOT / "pipelines/training/track-a.record.json"
    return json.loads(record.read_text()) if record.exists() else {"methods": {}}


def published(sets):
    track_a = sets.get("track-a")
    if not track_a:
        return MISSING + "."
    rows, folds = [], in_folds()["methods"]

    def trained(pipeline, pointer, sd=None):
        of = folds.get(pipeline, {}).get("measures", {})
        if pointer not in of:
            return MISSING
        return interval(of[pointer]) + (f" (SD {number(of[sd])})" if sd else "")

    for pipeline, work, figures in [
        ("vfa-forest", "forest", ".373 (SD .149)"),
        ("vfa-unet-binary", "binary U-net", ".569 (SD .189)"),
        ("vfa-unet-paper", "multi-class U-net", ".525"),
    ]:
        dice, sd = track_a.get(pipeline, "/masks/0/dice"), track_a.get(pipeline, "/masks/0/dice_sd")
        found = f"{interval(dice)} (SD {number(sd)})" if dice else MISSING
        rows.append([f"Dice, {work}", figures, pipeline, trained(pipeline, "/masks/0/dice", "/masks/0/dice_sd"), found])
    for name, pointer, figures in [
        ("R2, least squares", "ols", ".682 (multi-class U-net)"),
        ("R2, through the origin, centred", "origin_centred", ".630 (multi-class U-net)"),
    ]:
        pointer = f"/all/totals/r2/{pointer}"
        found = interval(track_a.get("vfa-unet-paper", pointer))
        rows.append([name, figures, "vfa-unet-paper", trained("vfa-unet-paper", pointer), MISSING if found == NOTHING else found])
    repeat = track_a.evaluation.get("repeat_dice") or []
    said = "; ".join(f"reader {r['reader']} {interval(r['dice'])} (SD {number(r['dice_sd'])})" for r in repeat)
    rows.append(["Dice of the same reader twice", ".869", "simulated readers, lengths of wall", NOTHING, said or MISSING])
    return table(["", "published", "here", "trained in the folds", "as shipped"], rows)


def cross_validated():
    """The methods as they were trained in the folds of track A, each judged on the images that its fold tests."""
    record = in_folds()
    names = [name for name in ORDER if name in record["methods"]]
    if not names:
        return MISSING + "."
    rows = []
    for measure in MEASURES:
        cells = [interval(record["methods"][name]["measures"].get(measure.pointer), measure.scale, measure.digits) for name in names]
        if any(cell != NOTHING for cell in cells):
            rows.append([measure.name] + cells)
    training = [record["methods"][name]["folds"] for name in names]
    steps = [f"{folds[0]['samples']:,} of {folds[0]['distinct_samples']:,}" if "samples" in folds[0] else NOTHING for folds in training]
    thresholds = [" ".join(number(fold["threshold"], 1, 2) for fold in folds) for folds in training]
    rows = [["samples drawn, of distinct ones, a fold"] + steps, ["thresholds of the folds"] + thresholds] + rows
    return table([""] + names, rows)


def measures(group):
    names = group.names()
    rows = []
    for measure in MEASURES:
        cells = [interval(group.get(name, measure.pointer), measure.scale, measure.digits) for name in names]
        if any(cell != NOTHING for cell in cells):
            rows.append([measure.name] + cells)
    return table([""] + names, rows)


def wilcoxon(sets):
    chosen = [sets[name] for name in ("internal", "external-c", "external-d") if name in sets]
    if not chosen:
        return MISSING + "."
    names = chosen[0].names()

    def cell(group, name):
        p, differs = group.get(name, "/all/totals/wilcoxon/test/p_value"), group.get(name, "/all/totals/differs")
        if p is None:
            return NOTHING
        return f"{'< .0001' if p < 1e-4 else number(p, 1, 4)} {'differs' if differs else 'n.s.'}"

    return table([""] + [group.title for group in chosen], [[name] + [cell(group, name) for group in chosen] for name in names])


def by_scanner(group, ours):
    groups = group.get(ours, "/by_scanner_model") or {}
    rows = []
    for name, of in groups.items():
        totals = of["totals"]
        rows.append(
            [
                name,
                str(of["scored"]["n"]),
                interval(of["scored"], 100, 1),
                interval(totals["r2"]["identity"]),
                interval(totals["difference"]["mae"], 1, 2),
                interval(totals["difference"]["bias"], 1, 2),
                interval(totals["categories"]["accuracy"], 100, 1),
            ]
        )
    return table(["scanner", "assessable", "scored, %", "R2, identity", "MAE", "bias", "category right, %"], rows)


def page(sets, pipelines, ours, quick):
    parts = ["# Results"]
    if quick:
        parts.append("**A try with a few images: the command works. Its numbers say nothing.**")
    parts.append(
        "Written by `make results`; every number is printed by `aortica evaluate --json` on test cohorts simulated from their seeds. "
        "All images are simulated: results on them must not be set against those on patients, and the published figures below stand "
        "beside ours to show where the recipes land, not as a comparison. In brackets: 95 % confidence intervals; "
        "a target counts as met by its estimate, and the interval says how sure that is."
    )
    rows = [[p["name"], p["version"], p["fingerprint"][:12], p["summary"]] for p in pipelines if not p["problem"]]
    parts += ["## What was scored", table(["pipeline", "version", "fingerprint", ""], rows)]
    absent = [name for name in SEVEN if name not in [p["name"] for p in pipelines]]
    if absent:
        parts.append("Not there when this was written: " + ", ".join(f"`{name}`" for name in absent) + ".")
    rows = [
        [group.title, group.what, str(group.made["seed"]), str(group.made["participants"]), group.digest, group.mix()]
        for group in sets.values()
    ]
    head = ["test cohort", "", "seed", "participants", "configuration", "case mix"]
    parts += ["## Test cohorts", table(head, rows)]
    parts.append("No model was trained on these seeds. The configuration is told by the first digits of the SHA-256 of `phantom.toml`.")
    parts += [f"## Targets (`{ours}`)", targets(sets, ours)]
    parts += ["## Beside the published figures", published(sets)]
    parts.append(
        "*Trained in the folds*: on the 125 training images of each fold and nothing else, and judged on the 39 that it tests. *As shipped*: "
        "the networks were trained on simulated images of other seeds, the forest on 125 images of another cohort. A comparator that learnt its training pictures and not the task in the steps that it was given is shown as "
        "it is: what such a network can do with more is not told by these numbers. Overlap is measured on the pixels of the image around the true aorta, the papers' in the straightened region."
    )
    parts += [
        "## Track A, trained in the folds",
        "Like with like: each method trained from nothing on the same 3,750 samples of 125 images in each of five folds, its threshold chosen "
        "by the best mean Dice on 31 validation images, judged on 39 others (`pipelines/training/folds.sh`). Corners and shape model are those "
        "of ours for all of them; neither saw this cohort.",
        cross_validated(),
    ]
    parts += ["## Wilcoxon of each method against truth, at .05/3", wilcoxon(sets)]
    for group in sets.values():
        parts += [f"## Side by side: {group.title}", group.mix().capitalize() + ".", measures(group)]
    if "default" in sets:
        parts += [f"## By scanner (`{ours}`, default population)", by_scanner(sets["default"], ours)]
    parts += [
        "## Run it again",
        "`make results` (some 20 minutes on 2 cores after the release build; it goes on where it was stopped), `QUICK=1 make results` for a try. Sizes, pipelines and folders are variables of "
        "`pipelines/results/run.sh`; beside each cohort lies `comparison.html` with the figures.",
    ]
    return "\n\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--quick", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    sets = {}
    for name, title, what in SETS:
        folder = args.work / name
        if (folder / "evaluation.json").exists():
            sets[name] = Set(folder, title, what)
    pipelines = json.loads((args.work / "pipelines.json").read_text())
    text = page(sets, pipelines, args.ours, bool(args.quick))
    part = args.out.with_name(args.out.name + ".part")
    part.write_text(text)
    part.replace(args.out)
    print(f"{args.out}: {len(sets)} test cohorts")


if __name__ == "__main__":
    main()
