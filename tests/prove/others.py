"""Pictures of other things: none may be scored. Those are the CT, MR, ultrasound, chest and other images that pydicom ships for its
own tests, once as they are, and once as PNG without a header, so that nothing but the pixels says what they show.

    others.py --aortica target/release/aortica [--record others.json]

Run by `others.sh`, which has pydicom and Pillow installed. Exits with 1 where more than 2 % of the pictures are scored.
"""
import argparse
import csv
import io
import json
import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy
import pydicom
from PIL import Image

SCORED_MAX_PCT = 2.0
# Frames of one file that are taken, and the least side of a picture, pixels: thumbnails are made larger, as none would be read.
FRAMES_MAX = 3
SIDE_MIN = 32
SIDE_WANTED = 512


def pictures(file):
    """Grey frames [rows, columns] 0..255 of a DICOM file; none where pydicom cannot decode it."""
    try:
        data = pydicom.dcmread(file, force=True)
        pixels = numpy.asarray(data.pixel_array, float)
    except Exception:
        return []
    frames = pixels if int(data.get("NumberOfFrames") or 1) > 1 else pixels[None]
    grey = [f.mean(axis=-1) if f.ndim == 3 else f for f in frames[:FRAMES_MAX]]
    spread = lambda f: (f - f.min()) / (numpy.ptp(f) or 1.0) * 255.0
    return [spread(f).astype("uint8") for f in grey if f.ndim == 2 and min(f.shape) >= SIDE_MIN]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", default="target/debug/aortica")
    parser.add_argument("--record", type=pathlib.Path)
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="aortica-others."))
    (work / "settings.toml").write_text(f'[study]\nkey_file = "{work}/study.key"\n')
    files = pathlib.Path(pydicom.__file__).parent / "data/test_files"
    plain = work / "plain"
    plain.mkdir()
    for file in sorted(path for path in files.rglob("*") if path.is_file()):
        for place, frame in enumerate(pictures(file)):
            image = Image.fromarray(frame)
            enlarged = max(1, round(SIDE_WANTED / min(image.size))) if min(image.size) < SIDE_WANTED / 2 else 1
            image.resize((image.width * enlarged, image.height * enlarged)).save(plain / f"{file.name}-{place}.png")

    record = {"machine": platform.machine(), "pydicom": pydicom.__version__}
    for name, folder in [("with_header", files), ("pixels_alone", plain)]:
        program = [args.aortica, "--settings", str(work / "settings.toml")]
        subprocess.run([*program, "score", folder, "--lake", work / name], check=True, capture_output=True)
        ask = "SELECT status, coalesce(fail_reason, '') AS reason, count(*) AS n FROM readings GROUP BY 1, 2 ORDER BY 1, 2"
        done = subprocess.run([*program, "query", "--lake", work / name, "--format", "csv", ask], check=True, capture_output=True, text=True)
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        counts = {f"{row['status']} {row['reason']}".strip(): int(row["n"]) for row in rows}
        pictures_read = sum(counts.values())
        record[name] = {"pictures": pictures_read, "not_scored_pct": round(100 * (1 - counts.get("scored", 0) / pictures_read), 2), **counts}
    print(json.dumps(record, indent=2))
    if args.record:
        args.record.write_text(json.dumps(record, indent=2) + "\n")
    return int(any(record[name]["not_scored_pct"] < 100 - SCORED_MAX_PCT for name in ("with_header", "pixels_alone")))


if __name__ == "__main__":
    sys.exit(main())
