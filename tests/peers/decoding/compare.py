"""Compares the stored values of `imaging` with those of pydicom and pylibjpeg, file by file, and writes TABLE.md.

    python compare.py DUMP_STORED OUT.md

DUMP_STORED is the built example `dump_stored` of the crate `imaging`. The files are pydicom's own test set, out of its
wheel. Exits with 1 when a file that both read differs by more than its row allows.

Both sides give the stored values before any transformation. pydicom leaves bits above the stored ones in native pixel
data, where old files keep overlays; the standard says that they are no part of the value (PS3.5, 8.1.1), so they are cut
off here as the header says (BitsStored, HighBit, PixelRepresentation).

Lossless codes must be equal. In lossy JPEG the standard leaves the rounding of the inverse transform to the decoder
(ISO/IEC 10918-2 allows a difference of 1); such rows say how many pixels differ by 1.
"""

import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

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
        "wheel ships, before modality and VOI transformation. `refused` gives the typed reason of `imaging`; a file is not",
        "applicable when it is no single grey frame.",
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
        also = "our luminance is not compared" if mine is not None else refused
        return "not applicable", syntax, bits, f"not applicable: colour; {also}"
    try:
        theirs = stored(dataset)
    except Exception as error:
        why = f"pydicom refuses ({type(error).__name__})"
        if mine is None:
            return "refused by both", syntax, bits, f"{refused}; {why}"
        return "read by us only", syntax, bits, f"read; {why}"
    if mine is None:
        return "refused", syntax, bits, refused
    if mine.shape != theirs.shape:
        return "DIFFERENT", syntax, bits, f"DIFFERENT: {mine.shape} here, {theirs.shape} there"
    difference = np.abs(mine.astype(np.int64) - theirs)
    if not difference.any():
        return "equal", syntax, bits, "equal"
    share = f"{np.count_nonzero(difference)} of {difference.size} pixels differ, by at most {difference.max()}"
    if uid in LOSSY and difference.max() <= 1:
        return "equal within rounding", syntax, bits, f"equal within rounding: {share}"
    return "DIFFERENT", syntax, bits, f"DIFFERENT: {share}"


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

    names = ["pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "pylibjpeg-rle", "numpy"]
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
