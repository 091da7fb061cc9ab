"""Makes the code streams of crates/imaging/tests/fixtures/ by encoders other than ours.

    python make_fixtures.py FOLDER

Each is a picture of 40 rows and 48 columns; the tests know the values: `noisy` is (3701 y + 911 x + x x y) mod 2^bits, less half the
range when signed; `ramp` is 3 y + 2 x, times 16 at 12 bits.
"""

import io
import sys
import tempfile
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from openjpeg.utils import encode_array
from PIL import Image
from pydicom.encaps import generate_fragments

from transcoded import by_gdcm, dataset, dct_jpeg, lossless_jpeg

Y, X = np.mgrid[0:40, 0:48]


def noisy(bits: int, signed: bool) -> np.ndarray:
    return (3701 * Y + 911 * X + X * X * Y) % 2**bits - (2 ** (bits - 1) if signed else 0)


def ramp(scale: int) -> np.ndarray:
    return (3 * Y + 2 * X) * scale


def gdcm_stream(values: np.ndarray, bits: int, signed: bool, syntax: int) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "a.dcm", Path(name) / "b.dcm"
        dataset(values, bits, signed).save_as(source, enforce_file_format=True)
        assert by_gdcm(source, target, syntax)
        return b"".join(generate_fragments(pydicom.dcmread(target).PixelData))


def pillow(mode: str, **options) -> bytes:
    picture = Image.fromarray(ramp(1).astype(np.uint8))
    if mode == "RGB":
        picture = Image.merge("RGB", [picture] * 3)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def main() -> None:
    folder = Path(sys.argv[1])
    signed13 = noisy(13, True).astype(np.int16)
    files = {
        "noisy-13-signed.j2k": encode_array(signed13, photometric_interpretation=2, bits_stored=13, use_mct=False),
        "ramp-12.j2k": encode_array(
            ramp(16).astype(np.uint16), photometric_interpretation=2, bits_stored=12, use_mct=False, compression_ratios=[8]
        ),
        "noisy-12.jls": gdcm_stream(noisy(12, False), 12, False, gdcm.TransferSyntax.JPEGLSLossless),
        "ramp-12-near.jls": gdcm_stream(ramp(16), 12, False, gdcm.TransferSyntax.JPEGLSNearLossless),
        "noisy-16-signed-sv1.jpg": gdcm_stream(noisy(16, True), 16, True, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        "noisy-12.rle": gdcm_stream(noisy(12, False), 12, False, gdcm.TransferSyntax.RLELossless),
        "ramp-12.jpg": dct_jpeg(ramp(16), 12, 3),
        "ramp-8.jpg": pillow("L", dpi=(100, 200)),
        "ramp-8-restart.jpg": pillow("L", restart_marker_blocks=3),
        "ramp-8-progressive.jpg": pillow("L", progressive=True),
        "ramp-8-colour-420.jpg": pillow("RGB", subsampling="4:2:0"),
    }
    for predictor in range(1, 8):
        stream = lossless_jpeg(noisy(14, False), 14, predictor, restart_rows=predictor % 3)
        files[f"noisy-14-predictor-{predictor}.jpg"] = stream
    for name, stream in files.items():
        (folder / name).write_bytes(bytes(stream))
        print(name, len(stream))


if __name__ == "__main__":
    main()
