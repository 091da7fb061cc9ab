"""`make bench`: aortica against the ceiling of its own networks and against an honest Python pipeline.

What is counted, and how:
- images/s of `aortica score`: images over the wall time of the whole process, from start to end: listing, loading and warming
  up the models, decoding, networks, scoring, artifacts, commits. Overlays are off. Items that it does not score count as images.
- Ceiling: `crates/inference/examples/ceiling.rs` runs each network alone on the same cores (same library, same files), in the
  fastest way of a small search over sessions, threads, spinning and batches; images/s of both = 1 / (1/locate + 1/segment).
- CPU seconds outside the networks. Peer: its process time less the thread time around the two `session.run` calls (one
  thread a session), from the moment at which its processes are ready, so that imports and start-up are left out. aortica:
  CPU seconds of the whole process, start-up, listing and commits included, less those of the networks, which are told in
  two ways: (threads) what the threads named `model ..` used, which run nothing but the batcher and ONNX Runtime;
  (subtraction) images times what the networks alone use an image at aortica's batch with one thread a core, measured in the
  same round. The less favourable of the two is compared with the limit.
- Peak memory: largest resident set of the process (wait4).
- The simulator: pixels a second of whole runs of `aortica phantom` (16 bit, uncompressed, masks and tables included), told in images
  of 1,100 x 400 (densitometers) and 2,500 x 1,800 (radiographs), since its rasters differ from image to image.
- Rounds: ceiling, aortica, ceiling again (the mean of both counts) and peer take turns. Ratios are taken within a round, because the
  speed of a machine drifts from round to round; their medians count, and all are printed.
- Files: what a round has written is deleted when all rounds are over (`cohort.sweep` says why).
- Agreement: AAC-24 of the peer, an independent implementation, against aortica's, file by file.
"""

import argparse
import csv
import datetime
import io
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import tomllib
from pathlib import Path

import cohort
import measure

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {"ceiling_ratio_min": 0.85, "outside_ratio_max": 0.2, "peak_mib_max": 1536.0}
# Settings, participants, raster in which the rate is told, images a second at least.
PHANTOMS = {
    "densitometers": ("phantom.toml", 200, (1100, 400), 20.0),
    "radiographs": ("phantom-films.toml", 24, (2500, 1800), 2.0),
}
GRADES = [f"aac_l{level}_{wall}" for level in range(1, 5) for wall in ("ant", "post")]
MODELS = ["locate", "segment"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", type=Path, required=True)
    parser.add_argument("--ceiling", type=Path, required=True, help="the built example `ceiling`")
    parser.add_argument("--runtime", type=Path, required=True, help="libonnxruntime.so, the same for aortica and ceiling")
    parser.add_argument("--pipeline", type=Path, default=ROOT / "pipelines/aortica")
    parser.add_argument(
        "--precision", default="int8", choices=["fp32", "fp16", "int8"], help="of the networks, for aortica, ceiling and peer alike"
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2, help="everything is held to so many cores")
    parser.add_argument("--seed", type=int, default=7700, help="of the simulated images; no model was trained on it")
    parser.add_argument("--search-seconds", type=float, default=1.5, help="for each way to run a network")
    parser.add_argument("--ceiling-seconds", type=float, default=6.0, help="for each network and round")
    parser.add_argument(
        "--memory-images", type=int, default=0, metavar="N", help="one more run on N distinct files, for the peak memory"
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/bench")
    parser.add_argument("--record", type=Path, default=ROOT / "tests/bench/record.json")
    options = parser.parse_args()
    form = "" if options.precision == "fp32" else f".{options.precision}"
    options.models = {name: options.pipeline.parent / f"vfa-unet/{name}{form}.onnx" for name in MODELS}
    return options


# --- the ceiling ------------------------------------------------------------------------------------------------------


def lines(text):
    """What `ceiling` prints, as dictionaries."""
    names = ["model", "runners", "threads", "spin", "batch", "images_per_s", "cpu_s_per_image"]
    for line in text.splitlines():
        fields = dict(zip(names, line.split("\t")))
        numbers = {name: int(fields[name]) for name in names[1:5]} | {name: float(fields[name]) for name in names[5:]}
        yield {"model": Path(fields["model"]).name.split(".")[0]} | numbers


class Ceiling:
    def __init__(self, options):
        self.options = options
        self.models = options.models
        self.command = [options.ceiling, "--runtime", options.runtime]

    def call(self, what, seconds, words):
        command = [self.command[0], what, *self.command[1:], "--seconds", seconds, *words]
        return list(lines(measure.run(command, self.options.work / "ceiling.log").stdout))

    def search(self):
        """The fastest way of each model."""
        words = ["--cores", self.options.cores, *self.models.values()]
        self.tried = self.call("search", self.options.search_seconds, words)
        self.best = {
            name: max((t for t in self.tried if t["model"] == name), key=lambda t: t["images_per_s"]) for name in MODELS
        }

    def measured(self, ways):
        """{model: measurement}, each model in its way."""
        text = lambda way: ",".join(str(way[name]) for name in ("runners", "threads", "spin", "batch"))
        words = [word for name in MODELS for word in (self.models[name], text(ways[name]))]
        return {line["model"]: line for line in self.call("measure", self.options.ceiling_seconds, words)}

    def at_best(self):
        each = self.measured(self.best)
        return {"images_per_s": 1 / sum(1 / each[name]["images_per_s"] for name in MODELS), "each": each}

    def cpu_s_per_image(self, batches):
        """CPU seconds of both networks an image, one thread on every core, at given batches."""
        ways = {name: {"runners": self.options.cores, "threads": 1, "spin": 0, "batch": batches[name]} for name in MODELS}
        return sum(line["cpu_s_per_image"] for line in self.measured(ways).values())


# --- the two pipelines ------------------------------------------------------------------------------------------------


def score(options, images, lake):
    """One run of `aortica score` into a new lake. It must not lie where one was deleted a moment ago: file systems are slow there."""
    command = [options.aortica, "score", images, "--lake", lake, "--pipeline", options.pipeline]
    command += ["--precision", options.precision, "--threads", options.cores, "--json"]
    run = measure.run(command, options.work / "aortica.log", {"ORT_DYLIB_PATH": str(options.runtime)})
    return run, json.loads(run.stdout)


def of_aortica(options, images, count, ceiling, batches, lake):
    """What the networks alone reach, and aortica between two measurements of that."""
    before = ceiling.at_best(), ceiling.cpu_s_per_image(batches)
    run, report = score(options, images, lake)
    after = ceiling.at_best(), ceiling.cpu_s_per_image(batches)
    networks_alone_s = statistics.mean([before[1], after[1]])
    alone = {
        "images_per_s": statistics.mean([before[0]["images_per_s"], after[0]["images_per_s"]]),
        "cpu_ms_per_image": 1000 * networks_alone_s,
        "before": before[0],
        "after": after[0],
    }
    opened = report["opened"]
    if opened != count:
        raise SystemExit(f"aortica read {opened} of {count} images")
    in_threads = sum(s for name, s in run.threads_cpu_s.items() if name.startswith("model"))
    outside = {
        "threads": 1000 * (run.cpu_s - in_threads) / count,
        "subtraction": 1000 * (run.cpu_s / count - networks_alone_s),
    }
    return alone, {
        "images_per_s": count / run.wall_s,
        "images_per_s_as_it_says": report["images_per_second"],
        "cpu_ms_per_image": 1000 * run.cpu_s / count,
        "outside_ms_per_image_by": outside,
        "outside_ms_per_image": max(outside.values()),
        "threads_cpu_s": {name: round(s, 3) for name, s in sorted(run.threads_cpu_s.items())},
        "peak_mib": run.peak_mib,
        "scored": report["scored"],
        "excluded": report["excluded"],
        "failed": report["failed"],
    }


def of_peer(options, images, batch):
    table = options.work / "peer.csv"
    command = [sys.executable, ROOT / "tests/peers/pipeline/score.py", images, options.pipeline]
    command += ["--out", table, "--processes", options.cores, "--batch", batch, "--precision", options.precision]
    run = measure.run(command, options.work / "peer.log")
    report = json.loads(run.stdout.splitlines()[-1])
    return {
        "images_per_s": report["images"] / run.wall_s,
        "images_per_s_when_ready": report["images_per_s"],
        "cpu_ms_per_image": 1000 * report["cpu_s"] / report["images"],
        "outside_ms_per_image": report["outside_cpu_ms_per_image"],
        "steps_ms_per_image": report["steps_cpu_ms_per_image"],
        "startup_cpu_s": report["startup_cpu_s"],
        "scored": report["scored"],
        "excluded": report["excluded"],
    }


def agreement(options, lake):
    """AAC-24 of both, file by file."""
    sql = f"""SELECT s.uri, r.status, r.fail_reason, r.aac24_total, {", ".join(f"r.{g}" for g in GRADES)}
        FROM readings r JOIN sources s ON r.item_id = s.item_id"""
    command = [options.aortica, "query", "--lake", lake, "--with-sources", "--format", "csv", sql]
    ours = csv.DictReader(io.StringIO(measure.run(command, options.work / "query.log").stdout))
    ours = {row["uri"].rsplit("/", 1)[-1]: row for row in ours}
    theirs = {row["file"]: row for row in csv.DictReader((options.work / "peer.csv").open())}
    if ours.keys() != theirs.keys():
        raise SystemExit(f"aortica has rows of {len(ours)} files, the peer of {len(theirs)}, and they are not the same")
    pairs = [(name, ours[name], theirs[name]) for name in sorted(ours)]
    both = [pair for pair in pairs if pair[1]["status"] == pair[2]["status"] == "scored"]
    totals = [(name, a["aac24_total"], b["aac24_total"]) for name, a, b in both]
    known = [(name, int(a), int(b)) for name, a, b in totals if a and b]
    off = [abs(a - b) for _, a, b in known]
    segments = [(a[g], b[g]) for _, a, b in both for g in GRADES]
    return {
        "images": len(pairs),
        "same_outcome": sum((a["status"], a["fail_reason"]) == (b["status"], b["fail_reason"]) for _, a, b in pairs),
        "both_scored": len(both),
        "both_totals": len(known),
        "only_one_total": sum(bool(a) != bool(b) for _, a, b in totals),
        "totals_equal": off.count(0),
        "totals_within_1": sum(d <= 1 for d in off),
        "totals_farther": [{"file": n, "aortica": a, "peer": b} for n, a, b in known if abs(a - b) > 1],
        "segments": len(segments),
        "segments_equal": sum(a == b for a, b in segments),
        "outcomes_differ": [
            {"file": n, "aortica": a["fail_reason"] or a["status"], "peer": b["fail_reason"] or b["status"]}
            for n, a, b in pairs
            if (a["status"], a["fail_reason"]) != (b["status"], b["fail_reason"])
        ],
    }


# --- the simulator ----------------------------------------------------------------------------------------------------


def phantom_rates(options):
    rates = {}
    for name, (config, participants, (rows, columns), least) in PHANTOMS.items():
        drawn = options.work / f"drawn-{name}"
        shutil.rmtree(drawn, ignore_errors=True)
        command = [options.aortica, "phantom", "--participants", participants, "--seed", options.seed, "--out", drawn]
        command += ["--config", Path(__file__).with_name(config), "--threads", options.cores]
        run = measure.run(command, options.work / "phantom.log")
        files = sorted((drawn / "images").glob("*.dcm"))
        pixels = cohort.pixels(files)
        rates[name] = {
            "images": len(files),
            "mean_megapixels": pixels / len(files) / 1e6,
            "images_per_s": len(files) / run.wall_s,
            "raster": [rows, columns],
            "images_of_raster_per_s": pixels / run.wall_s / (rows * columns),
            "at_least": least,
        }
    return rates


# --- the record -------------------------------------------------------------------------------------------------------


def build_facts(options):
    """commit, compiler, profile and target of the program."""
    version = measure.run([options.aortica, "--version"], options.work / "version.log").stdout
    return dict(line.split(None, 1) for line in version.splitlines()[1:5])


def facts(options, images, build):
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    manifests = {name: tomllib.loads(options.models[name].with_suffix(".toml").read_text()) for name in MODELS}
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "cpu": model,
        "cores": options.cores,
        "build": build,
        "runtime": options.runtime.resolve().name,
        "models": {n: {"sha256": m["sha256"], "gflop": m.get("gflop_per_row")} for n, m in manifests.items()},
        "batches": {n: m.get("batch", {}).get("preferred", 1) for n, m in manifests.items()},
        "precision": options.precision,
        "images": options.images,
        "raster": [cohort.ROWS, cohort.COLUMNS],
        "images_sha256": cohort.digest(images),
        "rounds": options.rounds,
    }


def medians(rounds, who, *names):
    return {name: statistics.median(one[who][name] for one in rounds) for name in names}


def summary(rounds, memory):
    aortica = medians(rounds, "aortica", "images_per_s", "cpu_ms_per_image", "outside_ms_per_image", "peak_mib")
    peer = medians(rounds, "peer", "images_per_s", "images_per_s_when_ready", "cpu_ms_per_image", "outside_ms_per_image")
    ceiling = medians(rounds, "ceiling", "images_per_s")
    within = lambda who, name: [one["aortica"][name] / one[who][name] for one in rounds]
    ratios = {
        "ceiling": within("ceiling", "images_per_s"),
        "outside": within("peer", "outside_ms_per_image"),
        "whole_run": within("peer", "images_per_s"),
    }
    peak, at = (memory["peak_mib"], memory["images"]) if memory else (aortica["peak_mib"], rounds[0]["images"])
    return {
        "aortica": aortica,
        "peer": peer,
        "ceiling": ceiling,
        "ceiling_ratio": statistics.median(ratios["ceiling"]),
        "outside_ratio": statistics.median(ratios["outside"]),
        "whole_run_ratio": statistics.median(ratios["whole_run"]),
        "ratios": ratios,
        "peak_mib": peak,
        "peak_at_images": at,
    }


def table(record):
    f, s, a = record["facts"], record["summary"], record["agreement"]
    each = lambda who, name, digits=1: "  ".join(f"{one[who][name]:.{digits}f}" for one in record["rounds"])
    paired = lambda what: "rounds: " + "  ".join(f"{ratio:.3f}" for ratio in s["ratios"][what])
    best = record["ceiling_ways"]
    way = lambda w: f"{w['runners']} x {w['threads']} threads{', spinning' if w['spin'] else ''}, batch {w['batch']}"
    verdict = lambda good: "reached" if good else "MISSED"
    by = lambda how: statistics.median(one["aortica"]["outside_ms_per_image_by"][how] for one in record["rounds"])
    steps = {n: ms for n, ms in record["rounds"][-1]["peer"]["steps_ms_per_image"].items() if n not in MODELS}
    simulated = lambda name, r: f"{name} of {r['raster'][0]} x {r['raster'][1]} simulated a second"
    out = [
        "",
        f"{f['images']} images of {f['raster'][0]} x {f['raster'][1]}, 16 bit, uncompressed; {f['cores']} cores of {f['cpu']}; "
        f"aortica {f['build'].get('commit', '')[:12]} ({f['build'].get('profile', '')}); medians of {f['rounds']} rounds",
        f"models in {f['precision']}: " + ", ".join(f"{n} {m['sha256'][:12]}, {m['gflop']} GFLOP" for n, m in f["models"].items()),
        *[f"WARNING: {text}" for text in record["warnings"]],
        "",
        f"{'images/s, aortica score':44}{s['aortica']['images_per_s']:9.1f}   rounds: {each('aortica', 'images_per_s')}",
        f"{'images/s, networks alone (ceiling)':44}{s['ceiling']['images_per_s']:9.1f}   rounds: {each('ceiling', 'images_per_s')}",
        *[f"    {n}: {way(best[n])}" for n in MODELS],
        f"{'  aortica / ceiling':44}{s['ceiling_ratio']:9.3f}   at least {LIMITS['ceiling_ratio_min']}: "
        + verdict(s["ceiling_ratio"] >= LIMITS["ceiling_ratio_min"]) + f"   {paired('ceiling')}",
        f"{'images/s, Python pipeline':44}{s['peer']['images_per_s']:9.1f}   rounds: {each('peer', 'images_per_s')}",
        f"{'  aortica / Python, whole run':44}{s['whole_run_ratio']:9.2f}   (Python without its start: {s['peer']['images_per_s_when_ready']:.1f}/s)",
        f"{'CPU ms outside the networks an image, aortica':44}{s['aortica']['outside_ms_per_image']:9.2f}   "
        f"by threads {by('threads'):.2f}, by subtraction {by('subtraction'):.2f}",
        f"{'CPU ms outside the networks an image, Python':44}{s['peer']['outside_ms_per_image']:9.2f}   in the last round: "
        + ", ".join(f"{n} {ms:.1f}" for n, ms in steps.items()),
        f"{'  aortica / Python':44}{s['outside_ratio']:9.3f}   at most {LIMITS['outside_ratio_max']}: "
        + verdict(s["outside_ratio"] <= LIMITS["outside_ratio_max"]) + f"   {paired('outside')}",
        f"{'peak memory of aortica score, MiB':44}{s['peak_mib']:9.0f}   at {s['peak_at_images']} images, at most "
        f"{LIMITS['peak_mib_max']:.0f}: " + verdict(s["peak_mib"] <= LIMITS["peak_mib_max"]),
        *[
            f"{simulated(name, r):44}{r['images_of_raster_per_s']:9.1f}   at least {r['at_least']:.0f}: {verdict(r['images_of_raster_per_s'] >= r['at_least'])} "
            f"({r['images_per_s']:.1f} images/s of {r['mean_megapixels']:.2f} megapixels)"
            for name, r in record["phantom"].items()
        ],
        "",
        f"agreement with the Python pipeline: same outcome {a['same_outcome']} of {a['images']}; of {a['both_totals']} totals "
        f"{a['totals_equal']} equal, {a['totals_within_1']} within 1; {a['segments_equal']} of {a['segments']} segments equal",
        *[f"    {d['file']}: aortica {d['aortica']}, Python {d['peer']}" for d in a["totals_farther"] + a["outcomes_differ"]],
        "",
    ]
    return "\n".join(out)


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    lakes = Path(tempfile.mkdtemp(prefix="lakes-", dir=options.work))
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    if len(cores) < options.cores:
        raise SystemExit(f"{options.cores} cores are asked for, {len(cores)} may be used")
    os.sched_setaffinity(0, cores)
    say = lambda text: print(f"bench: {text}", file=sys.stderr, flush=True)

    warnings, load = [], os.getloadavg()[0]
    if load > 0.5:
        warnings.append(f"the machine was busy before (load {load:.1f}): these numbers are no measurement")
    build = build_facts(options)
    say(f"simulating {options.images} images, unless they are there")
    config = Path(__file__).with_name("phantom.toml")
    images = cohort.make(options, config, build.get("commit", ""))
    known = facts(options, images, build)
    if known["build"].get("profile") != "release":
        warnings.append("aortica is a debug build (pixel code optimised, the rest not): run `make release` first")
    ceiling = Ceiling(options)
    say("searching the fastest way to run the networks alone")
    ceiling.search()
    # The peer runs one thread a process: the batch that is fastest that way.
    single = [t for t in ceiling.tried if t["runners"] == options.cores]
    peer_batch = max((t for t in single if t["model"] == "locate"), key=lambda t: t["images_per_s"])["batch"]
    rounds = []
    for number in range(1, options.rounds + 1):
        say(f"round {number} of {options.rounds}")
        alone, aortica = of_aortica(options, images, options.images, ceiling, known["batches"], lakes / str(number))
        rounds.append(
            {
                "images": options.images,
                "ceiling": alone,
                "aortica": aortica,
                "peer": of_peer(options, images, peer_batch),
            }
        )
    agreed = agreement(options, lakes / "1")
    say("speed of the simulator")
    phantoms = phantom_rates(options)
    memory = None
    if options.memory_images:
        say(f"peak memory at {options.memory_images} images")
        many = options.work / "copies"
        shutil.rmtree(many, ignore_errors=True)
        try:
            run, report = score(options, cohort.copies(images, options.memory_images, many), lakes / "memory")
        finally:
            shutil.rmtree(many, ignore_errors=True)
        if report["opened"] != options.memory_images:
            raise SystemExit(f"aortica read {report['opened']} of {options.memory_images} images")
        memory = {"images": options.memory_images, "peak_mib": run.peak_mib, "images_per_s": options.memory_images / run.wall_s}
    record = {
        "facts": known,
        "limits": LIMITS,
        "warnings": warnings,
        "summary": summary(rounds, memory),
        "agreement": agreed,
        "memory": memory,
        "phantom": phantoms,
        "ceiling_ways": ceiling.best,
        "peer_batch": peer_batch,
        "rounds": rounds,
    }
    cohort.sweep(options.work)
    options.record.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))
    print(f"record: {options.record}")


if __name__ == "__main__":
    main()
