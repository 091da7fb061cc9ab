"""The images of the bench: simulated DICOM files, all of one raster, 16 bits allocated, uncompressed."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pydicom

ROWS, COLUMNS = 1100, 400


def make(options, config, commit):
    """Folder with so many files of 1,100 x 400; kept under `work` for the next run with the same seed, settings and commit."""
    images, work = options.images, options.work
    key = f"{options.seed} {ROWS} {COLUMNS} {commit}".encode() + config.read_bytes()
    key = hashlib.sha256(key).hexdigest()[:12]
    folder = work / f"images-{images}-{key}"
    if folder.is_dir():
        return folder
    drawn = work / f"drawn-{images}-{key}"
    shutil.rmtree(drawn, ignore_errors=True)
    command = [options.aortica, "phantom", "--participants", images, "--seed", options.seed, "--config", config]
    command += ["--threads", options.cores, "--out", drawn]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for path in sorted((drawn / "images").glob("*.dcm")):
        fit(path, part / path.name)
    part.rename(folder)
    return folder


def sweep(work):
    """Deletes what is not needed after a run. Not sooner: ext4 does not give the inodes of deleted files out again for some
    minutes, and looks through all of them for every file that is made meanwhile."""
    for folder in [*work.glob("drawn-*"), *work.glob("lakes-*")]:
        shutil.rmtree(folder, ignore_errors=True)


def pixels(files):
    """Pixels of all files together."""
    headers = (pydicom.dcmread(path, stop_before_pixels=True) for path in files)
    return sum(header.Rows * header.Columns for header in headers)


def fit(source, target):
    """Resamples one file to the raster of the bench; the pixel spacing tells."""
    ds = pydicom.dcmread(source)
    stored = ds.pixel_array
    rows, columns = stored.shape
    name = "PixelSpacing" if "PixelSpacing" in ds else "ImagerPixelSpacing"
    row_mm, column_mm = (float(mm) for mm in ds[name].value)
    ds[name].value = [f"{row_mm * rows / ROWS:.6f}", f"{column_mm * columns / COLUMNS:.6f}"]
    pixels = cv2.resize(stored, (COLUMNS, ROWS), interpolation=cv2.INTER_LINEAR)
    ds.Rows, ds.Columns, ds.PixelData = ROWS, COLUMNS, pixels.astype("<u2").tobytes()
    ds.save_as(target)


def copies(folder, images, target):
    """`images` distinct files out of those in `folder`: in each copy, the last digits of the SOP instance UID and the last pixel
    count the copies. Every file then has its own image_id (a digest of the pixels) and is decoded and scored by itself."""
    bases = sorted(folder.glob("*.dcm"))
    size = sum(path.stat().st_size for path in bases) / len(bases) * images
    target.mkdir(parents=True)
    if shutil.disk_usage(target).free < 1.2 * size:
        raise SystemExit(f"{size / 2**30:.0f} GiB are needed for {images} copies under {target}")
    for first in range(0, len(bases)):
        base = bases[first].read_bytes()
        uid = pydicom.dcmread(bases[first], stop_before_pixels=True).SOPInstanceUID.encode()
        assert base.count(uid) >= 2 and len(uid) >= 20, "the SOP instance UID stands in the meta header and in the data set"
        for copy, index in enumerate(range(first, images, len(bases))):
            own = uid[:-6] + f"{copy:06d}".encode()
            last = np.uint16(copy % 4096).tobytes()
            (target / f"copy_{index:06d}.dcm").write_bytes(base.replace(uid, own)[:-2] + last)
    return target


def digest(folder):
    """SHA-256 over all files, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(folder.glob("*.dcm")):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
