"""DICOM file -> grey levels: bone bright, 16 bit, with what is known of the pixel's size."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pydicom


class Excluded(Exception):
    """The image cannot be scored; the argument is the reason, in aortica's words."""


@dataclass
class Radiograph:
    """`levels`: u16 [rows, columns], 0..65535, MONOCHROME2 after modality and VOI transformation."""

    levels: np.ndarray
    row_mm: float | None
    column_mm: float | None
    aspect: float  # height of a pixel over its width; 1 where it is unknown


@lru_cache(maxsize=64)
def grey_table(bits, signed, slope, intercept, window, inverse):
    """Grey level of every stored code, u16 [2^bits]: one look-up a pixel instead of arithmetic (PS3.3, C.11.2.1.2.1)."""
    code = np.arange(1 << bits)
    stored = np.where(code >= 1 << (bits - 1), code - (1 << bits), code) if signed else code
    value = stored * slope + intercept
    if window is None:
        low, high = float(value.min()), float(value.max())
        share = (value - low) / (high - low)
    else:
        centre, width = window
        share = (value - (centre - 0.5)) / max(width - 1.0, 1e-9) + 0.5
    level = np.floor(np.clip(share, 0.0, 1.0) * 65535.0 + 0.5).astype(np.uint16)
    return 65535 - level if inverse else level


def spacing(ds):
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        pair = ds.get(name)
        if pair is not None and len(pair) == 2 and pair[0] > 0 and pair[1] > 0:
            return float(pair[0]), float(pair[1]), float(pair[0]) / float(pair[1])
    ratio = ds.get("PixelAspectRatio")
    if ratio is not None and len(ratio) == 2 and ratio[0] > 0 and ratio[1] > 0:
        return None, None, float(ratio[0]) / float(ratio[1])
    return None, None, 1.0


def first(value):
    """The first of several values, or the only one; None stays."""
    return value[0] if isinstance(value, pydicom.multival.MultiValue) else value


def read(path, modalities):
    """Reads a file; raises `Excluded` for what the pipeline does not accept."""
    ds = pydicom.dcmread(path)
    if ds.get("Modality") and ds.Modality not in modalities:
        raise Excluded("wrong_modality")
    if int(ds.get("NumberOfFrames") or 1) > 1:
        raise Excluded("multi_frame")
    if ds.SamplesPerPixel != 1 or ds.get("ModalityLUTSequence") or ds.get("VOILUTSequence"):
        raise NotImplementedError("the peer reads grey pictures with rescale and window only")
    stored = ds.pixel_array
    bits, signed = ds.BitsStored, ds.PixelRepresentation == 1
    centre, width = first(ds.get("WindowCenter")), first(ds.get("WindowWidth"))
    table = grey_table(
        bits,
        signed,
        float(ds.get("RescaleSlope") or 1.0),
        float(ds.get("RescaleIntercept") or 0.0),
        None if centre is None or width is None or width < 1 else (float(centre), float(width)),
        ds.PhotometricInterpretation == "MONOCHROME1" or ds.get("PresentationLUTShape") == "INVERSE",
    )
    levels = table[stored.astype(np.uint16) & ((1 << bits) - 1)] if signed else table[stored]
    sample = levels.ravel()[:: max(1, levels.size >> 16) | 1]
    if np.ptp(sample) == 0:
        raise Excluded("blank")
    row_mm, column_mm, aspect = spacing(ds)
    return Radiograph(levels, row_mm, column_mm, aspect if math.isfinite(aspect) and 0.2 <= aspect <= 5.0 else 1.0)
