"""The canonical region around the aorta: 256 rows x 128 columns, anterior at column 0, 64 rows a level."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from locate import grey_range, stretch
from radiograph import Excluded

WIDTH, HEIGHT, ROWS_PER_LEVEL, LINES = 128, 256, 64, 5
VALID, OUTSIDE, MASKED, METAL = range(4)
GRID = 512
NEIGHBOURS = np.ones((3, 3), np.uint8)
MIN_BLANK_SHARE, MIN_METAL_SHARE, END_SHARE = 0.002, 0.0005, 0.02


@dataclass
class Region:
    """`front`, `back`: complex image points [5] at the outer borders of columns 0 and 127 on the mid-disc lines."""

    front: np.ndarray
    back: np.ndarray
    aspect: float
    wall_columns: np.ndarray  # anterior, posterior
    wall_sd: np.ndarray  # columns
    midline: float
    midline_sd: float

    def to_image(self, x, y):
        """Complex image points of region points; `x` and `y` broadcast."""
        u, v = (np.asarray(x) + 0.5) / WIDTH, (np.asarray(y) + 0.5) / ROWS_PER_LEVEL
        k = np.clip(v, 0, LINES - 2).astype(int)
        upper = self.front[k] + u * (self.back[k] - self.front[k])
        lower = self.front[k + 1] + u * (self.back[k + 1] - self.front[k + 1])
        return upper + (v - k) * (lower - upper)

    def row_lengths(self, column, per_x, per_y):
        """Length of each of the 256 rows along a column."""
        borders = self.to_image(column, np.arange(HEIGHT) - 0.5)
        last = self.to_image(column, HEIGHT - 0.5)
        steps = np.diff(np.append(borders, last))
        return np.hypot(steps.real * per_x, steps.imag * per_y)


def around(aorta, aspect, margin_sd):
    """The region of an aorta, widened by `margin_sd` standard errors."""
    image = lambda z: (-z.real if aorta.mirrored else z.real) + 1j * z.imag / aspect
    width = abs(aorta.posterior - aorta.anterior)
    if not (width > 1e-6).all():
        raise Excluded("spine_not_found")
    margin = lambda sd: min((margin_sd * sd / width).max(), 3.0)
    m_front, m_back = margin(aorta.anterior_sd), margin(aorta.posterior_sd)
    anterior, posterior = image(aorta.anterior), image(aorta.posterior)
    columns = WIDTH / (1 + m_front + m_back)
    walls = np.array([columns * m_front - 0.5, columns * (1 + m_front) - 0.5])
    region = Region(
        anterior - m_front * (posterior - anterior),
        posterior + m_back * (posterior - anterior),
        aspect,
        walls,
        columns * np.array([(aorta.anterior_sd / width).mean(), (aorta.posterior_sd / width).mean()]),
        walls.mean(),
        columns * (aorta.middle_sd / width).mean(),
    )
    corners = np.stack([region.front[:-1], region.back[:-1], region.back[1:], region.front[1:]])  # [4, levels]
    edge = np.roll(corners, -1, axis=0) - corners
    turn = (edge.conj() * np.roll(edge, -1, axis=0)).imag
    if not ((turn > 1).all() or (turn < -1).all()):
        raise Excluded("spine_not_found")
    return region


def warp(region, levels):
    """u8 [256, 128] and the state of each pixel; bilinear, the area averaged where the region is more than 1.5 times coarser."""
    grey = np.empty((HEIGHT, WIDTH), np.float32)
    across = np.maximum(abs(region.front - region.back)[:-1], abs(region.front - region.back)[1:]) / WIDTH
    down = np.maximum(abs(np.diff(region.front)), abs(np.diff(region.back))) / ROWS_PER_LEVEL
    samples = lambda scale: np.where(scale > 1.5, np.minimum(np.ceil(scale), 8), 1).astype(int)
    for k, (nx, ny) in enumerate(zip(samples(across), samples(down))):
        x = (np.arange(WIDTH * nx) + 0.5) / nx - 0.5
        y = k * ROWS_PER_LEVEL - 0.5 + (np.arange(ROWS_PER_LEVEL * ny) + 0.5) / ny
        at = region.to_image(x[None, :], y[:, None])
        value = ndimage.map_coordinates(levels, (at.imag, at.real), np.float32, order=1, mode="nearest", prefilter=False)
        if nx * ny > 1:
            value = value.reshape(ROWS_PER_LEVEL, ny, WIDTH, nx).mean(axis=(1, 3))
        grey[k * ROWS_PER_LEVEL : (k + 1) * ROWS_PER_LEVEL] = value
    at = region.to_image(np.arange(WIDTH)[None, :], np.arange(HEIGHT)[:, None])
    state = states(levels, np.round(at.real).astype(int), np.round(at.imag).astype(int))
    valid = state == VALID
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    if valid.any():
        black, white = grey_range((grey[valid] + 0.5).astype(np.uint16), 0.01, 0.99)
        pixels = np.where(valid, stretch(grey, black, white), 0).astype(np.uint8)
    return pixels, state


def states(levels, x, y):
    """What the image shows at whole pixels: anatomy, nothing (outside), a blanked area, or metal."""
    rows, columns = levels.shape
    outside = (x < 0) | (y < 0) | (x >= columns) | (y >= rows)
    state = np.where(outside, OUTSIDE, VALID).astype(np.uint8)
    stride = -(-max(rows, columns) // GRID)
    grid = levels[stride // 2 :: stride, stride // 2 :: stride]
    histogram = np.bincount(grid.ravel(), minlength=65536)
    used = np.flatnonzero(histogram)
    low, high = used[0], used[-1]
    reach = int((high - low) * END_SHARE)
    needed = max(min(MIN_BLANK_SHARE, MIN_METAL_SHARE) * grid.size, 1)
    flat = []
    for start, end, bright in ((low, low + reach, False), (high - reach, high, True)):
        level = start + histogram[start : end + 1].argmax()
        if histogram[level] >= needed:
            flat += areas(grid == level, bright, level)
    if not flat:
        return state
    x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
    cell = np.minimum(y // stride, grid.shape[0] - 1), np.minimum(x // stride, grid.shape[1] - 1)
    value = levels[y, x]
    for mask, level, kind in flat:
        # A pixel may lie nearer to the area than its own cell's centre does.
        near = cv2.dilate(mask.astype(np.uint8), NEIGHBOURS)
        state[~outside & (value == level) & (near[cell] != 0)] = kind
    return state


def areas(mask, bright, level):
    """Connected areas of one grey level that are large enough, as (mask, level, kind)."""
    labels, count = ndimage.label(mask)
    if not count:
        return []
    share = np.bincount(labels.ravel(), minlength=count + 1) / mask.size
    border = np.zeros(count + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        border[edge] = True
    metal = ~border & bright & (share >= MIN_METAL_SHARE)
    blank = (border | (not bright)) & (share >= MIN_BLANK_SHARE)
    metal[0] = blank[0] = False
    return [(chosen[labels], level, kind) for chosen, kind in ((blank, MASKED), (metal, METAL)) if chosen.any()]
