"""Located corners -> a named spine with its aorta, or the reason why the image cannot be scored."""

from dataclasses import dataclass

import numpy as np

from radiograph import Excluded
from shape import FIRST_CHANNEL, VERTEBRAL, Aorta

OUTLIER_DEVIATION = 5.0
OUTLIERS_MAX = 4
LEVELS = range(4)


@dataclass
class Spine:
    aorta: Aorta
    uncertain: np.ndarray  # bool [4]: fewer than three corners of the level are known
    confidence: float


def named(view, at, sd, confidence, aspect, model, rules):
    """`at` [26, 2], `sd` [26], `confidence` [26] of the corners, image pixels."""
    if view.argmax() != 0:
        raise Excluded("wrong_view" if view[1] >= view[2] else "spine_not_found")
    # L1-L4 are channels 4..20, four each.
    found = (confidence[4:20].reshape(4, 4).mean(axis=1) >= rules.min_confidence).sum()
    if found < 3:
        raise Excluded("levels_incomplete" if found == 2 else "spine_not_found")
    kept = np.flatnonzero(confidence[FIRST_CHANNEL : FIRST_CHANNEL + VERTEBRAL] >= rules.min_confidence / 2)
    square = at[:, 0] + 1j * at[:, 1] * aspect
    variance = np.maximum(sd * min(aspect, 1.0), 1e-3) ** 2
    for attempt in range(OUTLIERS_MAX + 1):
        if len(kept) < 6:
            raise Excluded("spine_not_found")
        aorta = model.estimate(kept, square[kept + FIRST_CHANNEL], variance[kept + FIRST_CHANNEL])
        worst = aorta.deviation.argmax()
        if aorta.deviation[worst] < OUTLIER_DEVIATION or attempt == OUTLIERS_MAX:
            break
        kept = np.delete(kept, worst)
    if not plausible(aorta.vertebrae):
        raise Excluded("spine_not_found")
    if aorta.height / max(aspect, 1.0) < rules.min_vertebral_height_px:
        raise Excluded("resolution_too_low")
    level = (kept - 2) // 4
    count = np.array([(level == k).sum() for k in LEVELS])
    inside = kept[(level >= 0) & (level < 4)]
    return Spine(aorta, count < 3, float(confidence[inside + FIRST_CHANNEL].sum() / 16))


def dot(a, b):
    return (a.conjugate() * b).real


def plausible(v):
    """Vertebrae one after the other, looking to the same side, of similar height."""
    back = v[[3, 7, 11, 15]] - v[[2, 6, 10, 14]]
    heights = (abs(v[[4, 8, 12, 16]] - v[[2, 6, 10, 14]]) + abs(v[[5, 9, 13, 17]] - v[[3, 7, 11, 15]])) / 2
    down = v[18] - v[0]
    along = dot(down, v - v[0]) / max(abs(down), 1e-9)
    above = np.array([0, 1, 4, 5, 8, 9, 12, 13, 16, 17])
    ordered = (along[above + 2] > along[above] - 0.1 * heights.max()).all()
    return abs(down) > 0 and ordered and (dot(back[:-1], back[1:]) > 0).all() and heights.max() <= 3 * heights.min()
