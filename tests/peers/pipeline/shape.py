"""The shape model of spine and aorta: pose and mode weights from located corners, by numpy linear algebra.

Written from the description (science.md, section 3; probabilistic principal components), not from aortica's code: complex
numbers stand for points, pixel widths are the unit of both axes, anterior is turned to the left.
"""

import json
from dataclasses import dataclass

import numpy as np

VERTEBRAL = 20  # points of a shape that are vertebral; then 5 anterior and 5 posterior wall points
LINES = 5
# Heatmap channels 2..22 are the 20 vertebral points: T12 inferior corners, L1-L4, L5 superior corners.
FIRST_CHANNEL = 2


@dataclass
class Aorta:
    """Complex points in square pixels, anterior left (`mirrored` tells whether x was turned)."""

    anterior: np.ndarray
    posterior: np.ndarray
    anterior_sd: np.ndarray
    posterior_sd: np.ndarray
    middle_sd: np.ndarray
    vertebrae: np.ndarray
    height: float  # mean height of L1-L4
    mirrored: bool
    deviation: np.ndarray  # of each corner given, standard errors


class ShapeModel:
    def __init__(self, path):
        model = json.loads(open(path).read())
        assert model["schema_version"] == 1, "an unknown version of the shape model"
        mean = np.array(model["mean"])
        self.mean = mean[:, 0] + 1j * mean[:, 1]
        self.variance = np.array([mode["variance"] for mode in model["modes"]])
        self.modes = np.array([mode["direction"] for mode in model["modes"]])  # [modes, 60]: x0, y0, x1, ..
        self.complex_modes = self.modes[:, 0::2] + 1j * self.modes[:, 1::2]  # [modes, 30]
        self.residual = model["residual_variance"]

    def design(self, shape, points):
        """Change of the coordinates of `points` with shift x, shift y, growth, rotation and each mode: [2 points, 4 + modes]."""
        rows = np.zeros((2 * len(points), 4 + len(self.variance)))
        rows[0::2, 0] = rows[1::2, 1] = 1.0
        rows[0::2, 4:] = self.modes[:, 2 * points].T
        rows[1::2, 4:] = self.modes[:, 2 * points + 1].T
        return turn_and_grow(rows, shape[points])

    def estimate(self, points, at, variance):
        """`points` (0..20) were located `at` (complex, square pixels, as displayed) with `variance` per axis."""
        weight = 1.0 / variance
        mirrored, pose = min(
            ((turn, similarity(self.mean[points], turned(at, turn), weight)) for turn in (False, True)),
            key=lambda fit: fit[1][2],
        )
        a, shift, _ = pose
        square = turned(at, mirrored)
        shape = self.mean
        prior = np.concatenate([np.zeros(4), 1.0 / self.variance])
        rows = self.design(shape, points)
        for _ in range(20):
            deviation = (square - shift) / a - self.mean[points]
            values = np.stack([deviation.real, deviation.imag], axis=1).ravel()
            noise = np.repeat(variance / abs(a) ** 2 + self.residual, 2)
            scaled = rows / noise[:, None]
            precision = rows.T @ scaled
            precision.flat[:: len(prior) + 1] += prior
            solution = np.linalg.solve(precision, scaled.T @ values)
            step, move = complex(*solution[2:4]), complex(*solution[:2])
            shift, a = shift + a * move, a * (1 + step)
            weights = solution[4:]
            shape = self.mean + weights @ self.complex_modes
            turn_and_grow(rows, shape[points])
            if abs(step) + abs(move) < 1e-9:
                break
        covariance = np.linalg.inv(precision)

        # Vertebral points: model and observation weighed by their variances.
        own = self.residual
        seen = variance / abs(a) ** 2
        residual = (square - shift) / a - shape[points]
        gain = own / (own + seen)
        vertebrae = shape[:VERTEBRAL].copy()
        vertebrae[points] += gain * residual
        model = np.einsum("ij,jk,ik->i", rows, covariance, rows).reshape(-1, 2)
        leverage = np.minimum(model / (own + seen)[:, None], 0.999)
        squares = np.stack([residual.real, residual.imag], axis=1) ** 2
        deviation = np.sqrt((squares / ((own + seen)[:, None] * (1 - leverage))).mean(axis=1))

        walls = np.arange(VERTEBRAL, VERTEBRAL + 2 * LINES)
        front, back = shape[walls[:LINES]], shape[walls[LINES:]]
        across = (back - front) / np.maximum(abs(back - front), 1e-9)
        rows = self.design(shape, walls)
        along = np.repeat(np.tile(np.stack([across.real, across.imag], axis=1), (2, 1)).ravel()[:, None], rows.shape[1], 1)
        along = (rows * along).reshape(2 * LINES, 2, -1).sum(axis=1)  # [10, parameters]

        def sd(share_front, share_back):
            row = share_front * along[:LINES] + share_back * along[LINES:]
            variance = np.einsum("ij,jk,ik->i", row, covariance, row) + (share_front**2 + share_back**2) * own
            return abs(a) * np.sqrt(variance)

        upper = [2, 3, 6, 7, 10, 11, 14, 15]
        height = abs(a) * np.mean([abs(shape[i] - shape[i + 2]) for i in upper])
        place = lambda z: a * z + shift
        return Aorta(
            place(front), place(back), sd(1, 0), sd(0, 1), sd(0.5, 0.5), place(vertebrae), height, mirrored, deviation
        )


def turn_and_grow(rows, z):
    """Writes the columns of growth and rotation for the points `z`."""
    rows[0::2, 2], rows[0::2, 3], rows[1::2, 2], rows[1::2, 3] = z.real, -z.imag, z.imag, z.real
    return rows


def turned(at, mirrored):
    return -at.conjugate() if mirrored else at


def similarity(frame, square, weight):
    """Least-squares `square = a * frame + shift`, and its sum of squared residuals."""
    total = weight.sum()
    f0, s0 = (frame * weight).sum() / total, (square * weight).sum() / total
    f, s = frame - f0, square - s0
    a = (f.conj() * s * weight).sum() / max((abs(f) ** 2 * weight).sum(), 1e-300)
    shift = s0 - a * f0
    return a, shift, (abs(square - a * frame - shift) ** 2 * weight).sum()
