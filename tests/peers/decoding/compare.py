"""Compares the stored values of `imaging` with those of pydicom and pylibjpeg, file by file, and writes TABLE.md.

    python compare.py DUMP_STORED OUT.md

DUMP_STORED is the built example `dump_stored` of the crate `imaging`. The files are pydicom's own test set, out of its
wheel. Exits with 1 when a file that both read differs by more than its row allows.

Both sides give the stored values before any transformation. pydicom leaves bits above the stored ones in native pixel
data, where old files keep overlays; the standard says that they are no part of the value (PS3.5, 8.1.1), so they are cut
off here as the header says (BitsStored, HighBit, PixelRepresentation).

Lossless codes must be equal. In lossy codes the standards leave the rounding of the inverse transform to the decoder
(for JPEG, ISO/IEC 10918-2 allows a difference of 1); such rows say how many pixels differ by 1. Where pylibjpeg refuses
a file that we read, GDCM is asked.

Of colour files, which the crate reads as their luminance, the luminance of pydicom's colours is compared; YBR colours that
pydicom clips when it turns them into RGB, and half a level of rounding, allow the few levels that the row names.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pydicom.data
from pydicom.uid import UID, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit

LOSSY_DCT = {JPEGBaseline8Bit, JPEGExtended12Bit}
LOSSY = LOSSY_DCT | {JPEG2000}


def main() -> int:
    dump_stored, table = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    root = Path(pydicom.data.__file__).parent / "test_files"
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc", ".md"})
    rows, failures, counts = [], 0, {}
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for first in range(0, len(files), 100):
            part = Path(folder) / str(first)
            part.mkdir()
            run = subprocess.run([dump_stored, part, *files[first : first + 100]], check=True, capture_output=True, text=True)
            lines += [(part, *line.split("\t")) for line in run.stdout.splitlines()]
        assert len(lines) == len(files), f"{len(lines)} answers to {len(files)} files"
        for path, (part, index, ours, detail) in zip(files, lines):
            mine = np.load(part / f"{index}.npy") if ours == "ok" else None
            kind, syntax, bits, result = row(path, mine, ours, detail)
            counts[kind] = counts.get(kind, 0) + 1
            failures += kind == "DIFFERENT"
            rows.append((str(path.relative_to(root)), syntax, bits, result))
    compared = ", ".join(f"{counts[kind]} {kind}" for kind in sorted(counts))
    text = [
        "# Decoding compared with pydicom and pylibjpeg",
        "",
        "Written by `tests/peers/decoding/run.sh`; do not edit. Stored values of every file of pydicom's test set that its",
        "wheel ships, before modality and VOI transformation. `refused` gives the typed reason of `imaging`; a file without",
        "pixel data or of several frames is not applicable. How the comparison is made is said in `compare.py`.",
        "",
        f"{versions()}. {len(files)} files: {compared}.",
        "",
        "| file | transfer syntax | bits stored | result |",
        "|---|---|---|---|",
    ]
    text += [f"| {name} | {syntax} | {bits} | {result} |" for name, syntax, bits, result in rows]
    table.write_text("\n".join(text) + "\n")
    print(compared)
    return 1 if failures else 0


def row(path: Path, mine: np.ndarray | None, ours: str, detail: str) -> tuple[str, str, str, str]:
    """Kind for the count, transfer syntax, bits and result of one file."""
    refused = f"refused: {ours} ({detail})"
    try:
        dataset = pydicom.dcmread(path, force=True)
        rows = dataset.get("Rows")
    except Exception as error:
        return "not applicable", "", "", f"not applicable: pydicom does not read it ({type(error).__name__}); {refused}"
    uid = UID(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID", "") or "")
    syntax = uid.name if uid else "not stated"
    bits = str(dataset.get("BitsStored", ""))
    if dataset.get("PixelRepresentation") == 1:
        bits += " signed"
    pixels = next((name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in dataset), None)
    if pixels is None or rows is None:
        return "not applicable", syntax, bits, f"not applicable: no pixel data; {refused}"
    try:
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
    except ValueError:
        frames = 1
    if frames > 1:
        return "not applicable", syntax, bits, f"not applicable: several frames; {refused}"
    if int(dataset.get("SamplesPerPixel", 1)) > 1:
        return ("colour", syntax, bits, colour(dataset, mine) if mine is not None else f"colour; {refused}")
    try:
        theirs = stored(dataset)
    except Exception as error:
        why = f"pydicom refuses ({type(error).__name__})"
        if mine is None:
            return "refused by both", syntax, bits, f"{refused}; {why}"
        other = gdcm_values(path)
        if other is None:
            return "read by us only", syntax, bits, f"read; {why}, and so does GDCM"
        kind, result = compare(mine, other, uid)
        return kind, syntax, bits, f"{result} (to GDCM; {why})"
    if mine is None:
        return "refused", syntax, bits, refused
    kind, result = compare(mine, theirs, uid)
    return kind, syntax, bits, result


def compare(mine: np.ndarray, theirs: np.ndarray, uid: UID) -> tuple[str, str]:
    """Kind for the count, and result."""
    if mine.shape != theirs.shape:
        return "DIFFERENT", f"DIFFERENT: {mine.shape} here, {theirs.shape} there"
    difference = np.abs(mine.astype(np.int64) - theirs)
    if not difference.any():
        return "equal", "equal"
    share = f"{np.count_nonzero(difference)} of {difference.size} pixels differ, by at most {difference.max()}"
    if uid in LOSSY and difference.max() <= 1:
        return "equal within rounding", f"equal within rounding: {share}"
    return "DIFFERENT", f"DIFFERENT: {share}"


def colour(dataset: pydicom.Dataset, mine: np.ndarray) -> str:
    """Result of a colour file: the greatest and the mean difference of the luminances."""
    try:
        rgb = dataset.pixel_array.astype(np.float64)
    except Exception as error:
        return f"colour; read; pydicom refuses ({type(error).__name__})"
    difference = np.abs(mine - rgb @ [0.299, 0.587, 0.114])
    return f"colour; luminance within {difference.max():.2f}, {difference.mean():.2f} in the mean"


def gdcm_values(path: Path) -> np.ndarray | None:
    """Unsigned grey pixels as GDCM reads them; None when it does not."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    if not reader.Read():
        return None
    image = reader.GetImage()
    raw = image.GetBuffer().encode("utf-8", "surrogateescape")
    width = image.GetPixelFormat().GetBitsAllocated() // 8
    return np.frombuffer(raw, dtype=f"<u{width}").reshape(image.GetDimension(1), image.GetDimension(0)).astype(np.int64)


def stored(dataset: pydicom.Dataset) -> np.ndarray:
    """pydicom's pixel array with the unused bits cut off."""
    values = dataset.pixel_array
    stored_bits, high_bit = int(dataset.BitsStored), int(dataset.HighBit)
    native = not dataset.file_meta.get("TransferSyntaxUID", UID("1.2.840.10008.1.2")).is_encapsulated
    if values.dtype.kind == "f" or not native or stored_bits == int(dataset.BitsAllocated):
        return values.astype(np.int64)
    values = (values.astype(np.int64) >> (high_bit + 1 - stored_bits)) & ((1 << stored_bits) - 1)
    if dataset.PixelRepresentation == 1:
        values -= (values >> (stored_bits - 1)) << stored_bits
    return values


def versions() -> str:
    from importlib.metadata import version

    names = ["pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "python-gdcm", "numpy"]
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
