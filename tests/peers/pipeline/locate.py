"""Before and after the network `locate`: letterboxed picture in, 26 corners out."""

from dataclasses import dataclass

import cv2
import numpy as np

WIDTH, HEIGHT = 256, 512  # of the network's input, stage pixels
STRIDE = 4  # stage pixels per heatmap cell
SIGMA = 1.5  # of the trained Gaussian, cells
CORNERS = 26
CANDIDATES, RADIUS, FLOOR = 3, 5, 0.02  # peaks of a channel, cells around one that are its own, least height of a further one
STEP_SPREAD, STEP_COST = 0.25, 4.0


def grey_range(values, low, high):
    """The grey levels below which the shares `low` and `high` of integer `values` lie."""
    counts = np.cumsum(np.bincount(values.ravel(), minlength=1))
    ranks = np.round(np.array([low, high]) * (counts[-1] - 1))
    black, white = np.searchsorted(counts, ranks, side="right")
    return float(black), float(white)


def stretch(values, black, white):
    """u8: `black`..`white` over 0..255, clamped."""
    if white <= black:
        return np.zeros(values.shape, np.uint8)
    gain = 255.0 / (white - black)
    scaled = values.astype(np.float32)
    scaled -= black
    scaled *= gain
    scaled += 0.5
    np.clip(scaled, 0.0, 255.0, out=scaled)
    return scaled.astype(np.uint8)


def letterbox(radiograph):
    """u8 [512, 256] and (scale x, scale y, shift x, shift y) of the map from image to stage pixels."""
    rows, columns = radiograph.levels.shape
    scale = min(WIDTH / columns, HEIGHT / (rows * radiograph.aspect))
    width = min(max(round(columns * scale), 1), WIDTH)
    height = min(max(round(rows * radiograph.aspect * scale), 1), HEIGHT)
    shrinks = width < columns and height < rows
    small = cv2.resize(radiograph.levels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    left, top = (WIDTH - width) // 2, (HEIGHT - height) // 2
    stage = np.zeros((HEIGHT, WIDTH), np.uint8)
    stage[top : top + height, left : left + width] = stretch(small, *grey_range(small, 0.005, 0.995))
    sx, sy = width / columns, height / rows
    return stage, (sx, sy, 0.5 * sx + left - 0.5, 0.5 * sy + top - 0.5)


DX, DY = (axis.ravel().astype(float) for axis in np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)))
TERMS = np.stack([np.ones(25), DX, DY, DX * DX, DY * DY], axis=1)  # [25, 5]
OUTER = TERMS[:, :, None] * TERMS[:, None, :]  # [25, 5, 5]
OFFSETS = ((DY + 2).astype(int)[None, :], (DX + 2).astype(int)[None, :])
DISC = [axis.ravel()[None, :] for axis in np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]]


@dataclass
class Peaks:
    """Peaks of heatmaps, in cells; one entry a peak."""

    column: np.ndarray
    row: np.ndarray
    height: np.ndarray
    sd: np.ndarray

    def take(self, which):
        return Peaks(self.column[which], self.row[which], self.height[which], self.sd[which])


def fit(heatmaps, channel, row, column):
    """Centres of Gaussians along the axes, fitted to the logarithms of the 5 x 5 cells around the given ones, weighted by
    height squared; all peaks at once."""
    top = heatmaps[channel, row, column].astype(float)
    padded = np.pad(heatmaps, ((0, 0), (2, 2), (2, 2)))
    window = padded[channel[:, None], row[:, None] + OFFSETS[0], column[:, None] + OFFSETS[1]].astype(float)
    window[(window <= 0.02 * top[:, None]) | (window <= 1e-9)] = 0.0
    weight = window * window
    logs = np.log(np.where(window > 0.0, window, 1.0))
    normal = np.tensordot(weight, OUTER, axes=1) + 1e-14 * np.eye(5)
    a = np.linalg.solve(normal, ((weight * logs) @ TERMS)[:, :, None])[:, :, 0]
    mass = window.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x, y = -a[:, 1] / (2 * a[:, 3]), -a[:, 2] / (2 * a[:, 4])
        good = (a[:, 3] < -1e-3) & (a[:, 4] < -1e-3) & (abs(x) <= 1.0) & (abs(y) <= 1.0)
        height = np.clip(np.exp(a[:, 0] - a[:, 3] * x * x - a[:, 4] * y * y), top, 1.25 * top)
        variance = -0.25 / a[:, 3] - 0.25 / a[:, 4]
        centroid = window @ np.stack([DX, DY], axis=1) / np.maximum(mass, 1e-300)[:, None]
    s = SIGMA * SIGMA
    x, y = np.where(good, x, centroid[:, 0]), np.where(good, y, centroid[:, 1])
    height = np.clip(np.where(good, height, top), 0.0, 1.0)
    variance = np.where(good, variance, 2 * s)
    # A corner known up to variance t is drawn, on average, with variance s + t and height s / (s + t): either tells t.
    blur = np.maximum(np.maximum(variance - s, 0.0), s * (1.0 / np.maximum(height, 1e-3) - 1.0))
    return Peaks(column + x, row + y, height, np.minimum(np.sqrt(0.25**2 + blur), 12.0))


def candidates(heatmaps):
    """Up to three peaks of each channel that do not overlap: arrays of channel, row and column, the brightest of all
    channels first."""
    rest = np.pad(heatmaps, ((0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS)))
    found, channel = [], np.arange(CORNERS)
    for _ in range(CANDIDATES):
        cell = rest[channel].reshape(len(channel), -1).argmax(axis=1)
        row, column = np.divmod(cell, rest.shape[2])
        if found:
            bright = rest[channel, row, column] >= FLOOR
            channel, row, column = channel[bright], row[bright], column[bright]
        if not len(channel):
            break
        found.append((channel, row - RADIUS, column - RADIUS))
        rest[channel[:, None], row[:, None] + DISC[0], column[:, None] + DISC[1]] = 0.0
    return [np.concatenate(parts) for parts in zip(*found)]


def chain(channel, peaks):
    """Index of one peak for each channel: for each kind of corner the chain from head to foot of the largest sum of
    ln(height), less the costs of odd steps from one vertebra to the next (Viterbi)."""
    own = np.arange(CORNERS)  # the brightest of each channel come first
    if len(channel) == CORNERS:
        return own
    upper, lower = own[:-4], own[4:]
    length = np.hypot(peaks.column[lower] - peaks.column[upper], peaks.row[lower] - peaks.row[upper])
    seen = (np.minimum(peaks.height[lower], peaks.height[upper]) >= 0.2) & (length > RADIUS / 2)
    if not seen.any():
        return own
    step = np.sort(length[seen])[seen.sum() // 2]
    of = [np.flatnonzero(channel == c) for c in range(CORNERS)]
    gain = np.log(np.maximum(peaks.height, FLOOR))
    visible = np.sqrt(peaks.height)
    chosen = own.copy()
    for kind in range(4):
        place = list(range(kind, CORNERS, 4))
        if all(len(of[c]) == 1 for c in place):
            continue
        score, back = gain[of[place[0]]], []
        for c, d in zip(place, place[1:]):
            a, b = of[c][:, None], of[d][None, :]
            down = peaks.row[b] - peaks.row[a]
            odd = ((np.hypot(peaks.column[b] - peaks.column[a], down) / step - 1) / STEP_SPREAD) ** 2 / 2
            cost = np.minimum(visible[a], visible[b]) * np.where(down < -0.2 * step, STEP_COST, np.minimum(odd, STEP_COST))
            ways = score[:, None] - cost
            back.append(ways.argmax(axis=0))
            score = ways.max(axis=0) + gain[of[d]]
        at = score.argmax()
        for c, before in zip(place[::-1], [*back[::-1], None]):
            chosen[c] = of[c][at]
            at = before[at] if before is not None else at
    return chosen


def corners(heatmaps, to_stage):
    """Positions in image pixels [26, 2], standard errors [26] (pixels of the finer axis) and confidences [26]."""
    channel, row, column = candidates(heatmaps)
    peaks = fit(heatmaps, channel, row, column)
    peaks = peaks.take(chain(channel, peaks))
    sx, sy, tx, ty = to_stage
    stage = STRIDE * np.stack([peaks.column, peaks.row], axis=1) + (STRIDE - 1) / 2
    return (stage - (tx, ty)) / (sx, sy), peaks.sd * STRIDE * max(1 / sx, 1 / sy), peaks.height
