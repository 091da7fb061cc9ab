"""Calcification probabilities -> midline, segment grades, totals: one row."""

import numpy as np

from region import HEIGHT, ROWS_PER_LEVEL, VALID, WIDTH

SEGMENTS = [f"aac_l{level}_{wall}" for level in range(1, 5) for wall in ("ant", "post")]
LINES = np.arange(2 * WIDTH + 1) * 0.5 - 0.5  # candidate midlines, columns
DISTANCE = np.arange(WIDTH)[None, :] - LINES[:, None]
WRONG_ANTERIOR = 1.0 / (1.0 + np.exp(-DISTANCE))  # cost of one anterior pixel [line, column]
WRONG_POSTERIOR = 1.0 / (1.0 + np.exp(DISTANCE))
TIE = 1e-7


def midline(anterior, posterior, prior, sd):
    """Line of least sigmoid cost (Chaplin & Cootes, equation 1); the shape model's line breaks ties and stands in."""
    if not anterior.any() and not posterior.any():
        return prior
    cost = WRONG_ANTERIOR @ anterior + WRONG_POSTERIOR @ posterior
    off = abs(LINES - prior)
    if not anterior.any() or not posterior.any():
        sd = max(sd, 0.5)
        cost = np.where(off <= 3 * sd + 0.5, cost + 0.5 * off**2 / sd**2, np.inf)
        if not np.isfinite(cost).any():
            return prior
    best = np.flatnonzero(cost <= cost.min() + TIE)
    return LINES[best[off[best].argmin()]]


def grade(r, h, rule):
    if rule == "kauppila":
        return -(-3 * r // h)
    return 0 if r == 0 else min(3, 3 * r // h + 1)


def aac8(heights):
    heights = round(heights, 9)
    return 0 if heights <= 0 else min(int(np.ceil(heights)), 4)


def score(probabilities, region, spine, state, radiograph, rules):
    """The row of an image. `probabilities` f32 [2, 256, 128]: anterior, posterior wall."""
    seen = state == VALID
    calcified = (probabilities >= np.float32(rules.threshold)) & seen
    line = midline(*calcified.sum(axis=1, dtype=np.int32), region.midline, region.midline_sd)
    columns = np.arange(WIDTH)
    rows = np.stack([(calcified[0] & (columns <= line)).any(axis=1), (calcified[1] & (columns >= line)).any(axis=1)])
    hidden = np.zeros((2, HEIGHT), bool)
    if not seen.all():
        for wall, column in enumerate(region.wall_columns):
            reach = max(region.wall_sd[wall], 4.0)
            first, last = (int(np.clip(round(column + side * reach), 0, WIDTH - 1)) for side in (-1, 1))
            band = ~seen[:, first : last + 1]
            hidden[wall] = 2 * band.sum(axis=1) >= band.shape[1]
    known = radiograph.row_mm is not None
    lengths = [region.row_lengths(c, radiograph.column_mm, radiograph.row_mm) for c in region.wall_columns] if known else None

    row, grades, length_mm, calcified_rows, visible_rows, heights = {}, [], 0.0, 0, 0, [0.0, 0.0]
    for name, (level, wall) in zip(SEGMENTS, np.ndindex(4, 2)):
        part = slice(level * ROWS_PER_LEVEL, (level + 1) * ROWS_PER_LEVEL)
        visible = ~hidden[wall, part]
        h = int(visible.sum())
        if spine.uncertain[level] or ROWS_PER_LEVEL - h > rules.max_hidden_share * ROWS_PER_LEVEL:
            row[name] = None
            continue
        calcium = rows[wall, part] & visible
        r = int(calcium.sum())
        row[name] = grade(r, h, rules.rule)
        grades.append(row[name])
        calcified_rows, visible_rows = calcified_rows + r, visible_rows + h
        heights[wall] += r / h
        if known:
            length_mm += float(lengths[wall][part][calcium].sum())
    total, n = sum(grades), len(grades)
    low, high = total, total + 3 * (8 - n)
    band = lambda score: "high" if score >= rules.high_from else "moderate" if score >= rules.moderate_from else "low"
    complete = n == 8
    levels = sum(any(row[name] for name in SEGMENTS[2 * k : 2 * k + 2]) for k in range(4))
    return row | {
        "aac24_total": total if complete else None,
        "aac_n_segments": n,
        "aac24_min": low,
        "aac24_max": high,
        "aac8_total": aac8(heights[0]) + aac8(heights[1]) if complete else None,
        "aac_levels": levels if complete else None,
        "aac_walls": sum(g > 0 for g in grades) if complete else None,
        "aac24_cat_label": band(low) if band(low) == band(high) else None,
        "aac_length_mm": round(length_mm, 3) if complete and known else None,
        "aac_length_pct": round(100 * calcified_rows / max(visible_rows, 1), 4) if complete else None,
        "confidence": round(spine.confidence, 4),
    }
