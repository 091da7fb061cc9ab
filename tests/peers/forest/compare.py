"""Our forest against scikit-image and scikit-learn: the same features, the same maps, and how much faster.

    compare.py EXAMPLE FOREST TRAINING TEST [--patches N] [--images N]

EXAMPLE is the built example `forest` of crates/scoring, FOREST a file of `aortica train forest`, TRAINING and TEST folders of shards of
`aortica training-set --variants 0`. Exits with 1 when features or maps differ.
"""

import argparse
import datetime
import json
import platform
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from skimage.feature import haar_like_feature
from skimage.transform import AffineTransform, integral_image, warp
from sklearn.ensemble import RandomForestClassifier

from forest_file import CELLS, NAMES, PATCH, REACH, Forest, feature_map


def shards(folder):
    parts = {}
    for part in ("regions", "valid", "labels"):
        files = sorted(Path(folder).glob(f"shard-*.{part}.npy"))
        if not files:
            raise SystemExit(f"no shards in {folder}: run `aortica training-set --variants 0` first")
        parts[part] = np.concatenate([np.load(f) for f in files])
    return parts["regions"], parts["valid"] > 0, (parts["labels"] & 3) > 0


def coordinates(feature):
    """The cells of a feature as scikit-image wants them: rectangles of (row, column), both ends within."""
    kind, x, y, w, h = feature
    across, down = CELLS[kind]
    cells = [((y + j * h, x + i * w), (y + (j + 1) * h - 1, x + (i + 1) * w - 1)) for j in range(down) for i in range(across)]
    if kind == 4:  # round the middle, so that signs alternate
        cells = [cells[0], cells[1], cells[3], cells[2]]
    return [[cell[0], cell[1]] for cell in cells]


def as_skimage(features):
    coordinate = np.empty(len(features), dtype=object)
    coordinate[:] = [coordinates(f) for f in features]
    return coordinate, np.array([NAMES[f[0]] for f in features])


def skimage_features(window, coordinate, kind):
    return haar_like_feature(integral_image(window.astype(np.int64)), 0, 0, PATCH, PATCH, feature_type=kind, feature_coord=coordinate)


def check_features(forest, region, random):
    coordinate, kind = as_skimage(forest.features)
    padded = np.pad(region, REACH, mode="edge")
    maps = [feature_map(region, f) for f in forest.features]
    signs, compared = set(), 0
    for _ in range(20):
        row, column = int(random.integers(0, 256)), int(random.integers(0, 128))
        theirs = skimage_features(padded[row : row + PATCH, column : column + PATCH], coordinate, kind)
        ours = np.array([m[row, column] for m in maps])
        # scikit-image subtracts the first cell; a sign is a convention.
        signs |= {int(s) for s in np.sign(ours[ours != 0]) * np.sign(theirs[ours != 0])}
        if not np.array_equal(np.abs(ours), np.abs(theirs)):
            raise SystemExit(f"features differ from scikit-image around ({column}, {row})")
        compared += len(ours)
    if len(signs) != 1:
        raise SystemExit("features have now the sign of scikit-image, now the other")
    print(f"features: {compared} values equal those of scikit-image but for one common sign")


def ours(example, forest, regions):
    with tempfile.TemporaryDirectory() as folder:
        raw, maps = Path(folder, "regions"), Path(folder, "maps")
        raw.write_bytes(np.ascontiguousarray(regions).tobytes())
        out = subprocess.run([example, forest, raw, maps], check=True, capture_output=True, text=True)
        return np.frombuffer(maps.read_bytes(), "<f4").reshape(regions.shape), float(out.stdout)


def patches(regions, valid, labels, count, random):
    """Balanced patches, each scaled and turned at random ten times (Chaplin and Cootes, section 2.2)."""
    examples, classes = [], []
    for wanted in (True, False):
        places = np.argwhere(valid & (labels == wanted))
        for number, row, column in places[random.choice(len(places), count // 2, replace=False)]:
            for _ in range(10):
                scale, turn = np.exp(random.uniform(np.log(0.5), np.log(2))), random.uniform(-1, 1)
                window = AffineTransform(translation=(-REACH, -REACH)) + AffineTransform(scale=scale, rotation=turn)
                window += AffineTransform(translation=(column, row))
                patch = warp(regions[number], window, output_shape=(PATCH, PATCH), order=1, mode="edge", preserve_range=True)
                examples.append(np.rint(patch).astype(np.uint8))
                classes.append(wanted)
    return np.array(examples), np.array(classes)


def patch_features(examples, features):
    """Features of many patches at once: what a careful user writes, because scikit-image takes one patch at a time."""
    sums = np.zeros((len(examples), PATCH + 1, PATCH + 1), np.int32)
    sums[:, 1:, 1:] = examples.astype(np.int32).cumsum(1).cumsum(2)
    out = np.zeros((len(examples), len(features)), np.float32)
    for place, (kind, x, y, w, h) in enumerate(features):
        across, down = CELLS[kind]
        for j in range(down):
            for i in range(across):
                l, t = x + i * w, y + j * h
                cell = sums[:, t + h, l + w] - sums[:, t + h, l] - sums[:, t, l + w] + sums[:, t, l]
                out[:, place] += cell if (i + j) % 2 == 0 else -cell
    return out


def dice(maps, valid, labels, threshold):
    found = []
    for p, v, l in zip(maps, valid, labels):
        marked, calcified = (p >= threshold) & v, l & v
        if calcified.any():
            found.append(2 * (marked & calcified).sum() / (marked.sum() + calcified.sum()))
    return float(np.mean(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("example")
    parser.add_argument("forest")
    parser.add_argument("training")
    parser.add_argument("test")
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=10, help="regions of the test folder that are timed")
    parser.add_argument("--record", type=Path, default=Path(__file__).parent / "record.json")
    options = parser.parse_args()
    random = np.random.default_rng(1)
    regions, valid, labels = (part[: options.images] for part in shards(options.test))
    forest = Forest(options.forest)

    check_features(forest, regions[0], random)
    maps, ours_ms = ours(options.example, options.forest, regions)
    worst = max(float(np.abs(forest.respond(region) - found).max()) for region, found in zip(regions, maps))
    print(f"maps: {len(regions)} regions, largest difference to a walk in numpy {worst:.1e}")
    if worst > 1e-5:
        raise SystemExit("the maps differ")

    examples, classes = patches(*shards(options.training), options.patches, random)
    theirs = RandomForestClassifier(n_estimators=10, max_depth=24, min_samples_leaf=8, n_jobs=1, random_state=1)
    theirs.fit(patch_features(examples, forest.features), classes)

    their_maps, began = [], time.perf_counter()
    for region in regions:
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(region, REACH, mode="edge"), (PATCH, PATCH))
        features = np.stack([feature_map(region, f).ravel() for f in forest.features], 1).astype(np.float32)
        their_maps.append(theirs.predict_proba(features)[:, 1].reshape(region.shape))
    vectorised_ms = 1e3 * (time.perf_counter() - began) / len(regions)

    # As the library offers it, one window a call: a sample of windows, because an image takes minutes.
    coordinate, kind = as_skimage(forest.features)
    began, sample = time.perf_counter(), 200
    for window in windows.reshape(-1, PATCH, PATCH)[:: 256 * 128 // sample][:sample]:
        skimage_features(window, coordinate, kind)
    plain_ms = 1e3 * (time.perf_counter() - began) * (256 * 128 / sample)

    print(f"trees: ours {sum(map(len, forest.trees))} nodes, scikit-learn {sum(t.tree_.node_count for t in theirs.estimators_)}")
    for name, found in (("ours", maps), ("scikit-learn", np.array(their_maps))):
        best = max((dice(found, valid, labels, pct / 100), pct / 100) for pct in range(30, 99))
        print(f"Dice on {len(regions)} regions under the best threshold there: {name} {best[0]:.3f} (at {best[1]:.2f})")
    print(f"milliseconds a region on one core: ours {ours_ms:.1f}, features by numpy and scikit-learn {vectorised_ms:.0f}, "
          f"features by scikit-image alone {plain_ms:.0f}")
    print(f"times faster: {vectorised_ms / ours_ms:.1f} than numpy and scikit-learn, {plain_ms / ours_ms:.0f} than scikit-image")
    record = {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu(),
        "regions": len(regions),
        "ms_a_region": {"ours": ours_ms, "numpy and scikit-learn": vectorised_ms, "scikit-image": plain_ms},
        "times_faster_than_numpy_and_scikit_learn": vectorised_ms / ours_ms,
        "times_faster_than_scikit_image": plain_ms / ours_ms,
    }
    options.record.write_text(json.dumps(record, indent=1) + "\n")


def cpu():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
