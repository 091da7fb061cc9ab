"""An honest Python pipeline that does what `aortica score` does, for comparison: same ONNX files, same steps, a CSV of rows.

    python score.py IMAGES PIPELINE --out readings.csv [--processes 2] [--batch 4]

pydicom decodes, OpenCV resamples, numpy and SciPy do the rest, ONNX Runtime (one thread a process) runs the networks.
Written as a Python author who cares for speed would: look-up tables, no loop over pixels, batches, no thread beside the
process's own. It writes no artifacts, keeps no ledger and cannot resume; it reads uncompressed and simple files only.
The last line of stdout is a JSON report; CPU seconds are counted from the moment at which all processes are ready, so that
imports and loading models cost nothing.
"""

import os

# Before numpy is loaded: as many processes as cores are running, more threads would only wait for each other.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import csv
import json
import multiprocessing
import time
import tomllib
from collections import Counter, defaultdict
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

STEPS = ["read", "letterbox", "locate", "spine", "warp", "segment", "grade"]
NETWORKS = ["locate", "segment"]


def load_rules(pipeline):
    """The numbers of pipeline.toml; what the peer does not implement is refused."""
    text = tomllib.loads((pipeline / "pipeline.toml").read_text())
    score = text["score"]
    if score["extent"] != "mid_disc" or score["midline"] != "sigmoid" or score["min_plaque_mm"] != 0:
        raise NotImplementedError("the peer knows mid_disc, sigmoid and min_plaque_mm = 0 only")
    return SimpleNamespace(
        modalities=set(text["accept"]["modalities"]),
        min_vertebral_height_px=text["accept"]["min_vertebral_height_px"],
        min_confidence=text["locate"]["min_confidence"],
        margin_sd=text["region"]["margin_sd"],
        threshold=text["segment"]["threshold"],
        rule=score["rule"],
        max_hidden_share=score.get("max_hidden_share", 0.25),
        moderate_from=text["category"]["moderate_from"],
        high_from=text["category"]["high_from"],
        shape_model=beside(pipeline, text["region"]["shape_model"]),
        networks={stage: beside(pipeline, text[stage]["model"]) for stage in NETWORKS},
    )


def beside(pipeline, name):
    """A file of a pipeline, which may be that of the one beside it: `vfa-unet/shape.json`."""
    return (pipeline.parent if "/" in name else pipeline) / name


class Pipeline:
    def __init__(self, folder, precision):
        import cv2
        import onnxruntime

        from shape import ShapeModel

        cv2.setNumThreads(1)
        self.rules = load_rules(folder)
        self.model = ShapeModel(self.rules.shape_model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        form = "" if precision == "fp32" else f".{precision}"
        session = lambda name: onnxruntime.InferenceSession(
            f"{self.rules.networks[name]}{form}.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.locate, self.segment = session("locate"), session("segment")
        self.cpu_s = defaultdict(float)

    @contextmanager
    def timed(self, step):
        # The process computes on this thread alone, the networks included.
        start = time.thread_time()
        try:
            yield
        finally:
            self.cpu_s[step] += time.thread_time() - start

    def score(self, paths):
        """Rows of some files, computed as one batch."""
        import grades
        import locate
        import numpy as np
        import region
        import spine
        from radiograph import Excluded, read

        rules, work, rows = self.rules, [], []
        for path in paths:
            item = SimpleNamespace(row={"file": path.name, "status": "scored", "fail_reason": None})
            rows.append(item.row)
            with self.timed("read"):
                try:
                    item.radiograph = read(path, rules.modalities)
                except Excluded as reason:
                    item.row.update(status="excluded", fail_reason=str(reason))
                    continue
            with self.timed("letterbox"):
                item.stage, item.to_stage = locate.letterbox(item.radiograph)
            work.append(item)
        if not work:
            return rows
        with self.timed("locate"):
            heatmaps, views = self.locate.run(["heatmaps", "view"], {"image": np.stack([i.stage for i in work])[:, None]})
        regions = []
        for item, heatmap, view in zip(work, heatmaps.astype(np.float32) / 255, views):
            try:
                with self.timed("spine"):
                    corners = locate.corners(heatmap, item.to_stage)
                    item.spine = spine.named(view, *corners, item.radiograph.aspect, self.model, rules)
                    item.region = region.around(item.spine.aorta, item.radiograph.aspect, rules.margin_sd)
                    lines = item.region.to_image(item.region.midline, np.arange(5) * 64 - 0.5)
                    height, width = item.radiograph.levels.shape
                    inside = (abs(lines.real + 0.5 - width / 2) <= width / 2) & (abs(lines.imag + 0.5 - height / 2) <= height / 2)
                    if inside.sum() < 2:
                        raise Excluded("levels_incomplete")
            except Excluded as reason:
                item.row.update(status="excluded", fail_reason=str(reason))
                continue
            with self.timed("warp"):
                item.pixels, item.state = region.warp(item.region, item.radiograph.levels)
            regions.append(item)
        if not regions:
            return rows
        with self.timed("segment"):
            (calcium,) = self.segment.run(["calcification"], {"region": np.stack([i.pixels for i in regions])[:, None]})
        for item, probabilities in zip(regions, calcium.astype(np.float32) / 255):
            with self.timed("grade"):
                item.row.update(
                    grades.score(probabilities, item.region, item.spine, item.state, item.radiograph, rules)
                )
        return rows


def work(paths, pipeline, precision, batch, following, pipe):
    """One process: takes the next batch until there is none."""
    pipeline = Pipeline(pipeline, precision)
    pipeline.score(paths[:batch])  # the first batch loads code and sets up memory
    pipeline.cpu_s.clear()
    pipe.send({"startup_cpu_s": time.process_time()})
    pipe.recv()
    start, rows = time.process_time(), []
    while True:
        with following.get_lock():
            first = following.value
            following.value += batch
        if first >= len(paths):
            break
        rows += pipeline.score(paths[first : first + batch])
    pipe.send({"rows": rows, "cpu_s": time.process_time() - start, "steps": dict(pipeline.cpu_s)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("pipeline", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="int8", help="form of the networks: fp32, fp16 or int8")
    options = parser.parse_args()
    paths = sorted(options.images.glob("*.dcm"))
    if not paths:
        parser.error(f"{options.images} holds no .dcm file")
    spawn = multiprocessing.get_context("spawn")
    following = spawn.Value("q", 0)
    pipes = []
    for _ in range(options.processes):
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=work, args=(paths, options.pipeline, options.precision, options.batch, following, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
    startup = sum(pipe.recv()["startup_cpu_s"] for pipe in pipes) + time.process_time()
    wall, cpu = time.perf_counter(), time.process_time()
    for pipe in pipes:
        pipe.send("go")
    reports = [pipe.recv() for pipe in pipes]
    rows = sorted((row for report in reports for row in report["rows"]), key=lambda row: row["file"])
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    seconds = time.perf_counter() - wall
    cpu = time.process_time() - cpu + sum(report["cpu_s"] for report in reports)
    steps = {step: sum(report["steps"].get(step, 0.0) for report in reports) for step in STEPS}
    network = sum(steps[step] for step in NETWORKS)
    report = {
        "images": len(rows),
        "scored": sum(row["status"] == "scored" for row in rows),
        "excluded": dict(Counter(row["fail_reason"] for row in rows if row["status"] == "excluded")),
        "seconds": seconds,
        "images_per_s": len(rows) / seconds,
        "startup_cpu_s": startup,
        "cpu_s": cpu,
        "network_cpu_s": network,
        "outside_cpu_ms_per_image": 1000 * (cpu - network) / len(rows),
        "steps_cpu_ms_per_image": {step: 1000 * s / len(rows) for step, s in steps.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
