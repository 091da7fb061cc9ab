"""A forest file (see `Forest::to_bytes` in crates/scoring/src/forest.rs) read and walked in numpy, from the description alone."""

import struct

import numpy as np

PATCH = 21
REACH = PATCH // 2
LEAF = 0xFFFF
# Cells across and down, by kind.
CELLS = [(2, 1), (1, 2), (3, 1), (1, 3), (2, 2)]
# What scikit-image calls them.
NAMES = ["type-2-x", "type-2-y", "type-3-x", "type-3-y", "type-4"]


class Forest:
    def __init__(self, path):
        data = open(path, "rb").read()
        if data[:8] != b"aacfor\0\x01":
            raise SystemExit(f"{path} is no forest of version 1")
        count, trees = struct.unpack_from("<HH", data, 8)
        at = 12
        self.features = [tuple(data[at + 5 * i : at + 5 * i + 5]) for i in range(count)]
        at += 5 * count
        self.trees = []
        for _ in range(trees):
            (nodes,) = struct.unpack_from("<I", data, at)
            at += 4
            tree = np.zeros((nodes, 3), np.int64)
            for node in range(nodes):
                feature, value = struct.unpack_from("<Hi", data, at)
                at += 6
                right = 0
                if feature != LEAF:
                    (right,) = struct.unpack_from("<I", data, at)
                    at += 4
                tree[node] = feature, value, right
            self.trees.append(tree)
        if at + 32 != len(data):
            raise SystemExit(f"{path}: {len(data) - at - 32} bytes too many")

    def used(self):
        """Features that some node asks."""
        return sorted({int(f) for tree in self.trees for f in tree[:, 0] if f != LEAF})

    def respond(self, region):
        """The probability map of a region u8 [256, 128]: every window walked down every tree, all windows at once."""
        values = {f: feature_map(region, self.features[f]) for f in self.used()}
        height, width = region.shape
        total = np.zeros(height * width)
        for tree in self.trees:
            at = np.zeros(height * width, np.int64)
            walking = np.arange(height * width)
            while len(walking):
                feature, value, right = tree[at[walking]].T
                split = feature != LEAF
                total[walking[~split]] += value[~split] / 65535.0
                walking, feature, value, right = (x[split] for x in (walking, feature, value, right))
                found = np.empty(len(walking), np.int64)
                for f in np.unique(feature):
                    these = feature == f
                    found[these] = values[int(f)].ravel()[walking[these]]
                at[walking] = np.where(found <= value, at[walking] + 1, right)
        return (total / len(self.trees)).reshape(height, width)


def integral(image):
    sums = np.zeros((image.shape[0] + 1, image.shape[1] + 1), np.int64)
    sums[1:, 1:] = image.astype(np.int64).cumsum(0).cumsum(1)
    return sums


def feature_map(region, feature):
    """The feature of the window around each pixel of a region: sums over even cells minus those over odd ones, from the definition."""
    kind, x, y, w, h = feature
    across, down = CELLS[kind]
    sums = integral(np.pad(region, REACH, mode="edge"))
    rows, columns = region.shape

    def corner(column, row):
        return sums[row : row + rows, column : column + columns]

    value = np.zeros(region.shape, np.int64)
    for j in range(down):
        for i in range(across):
            left, top = x + i * w, y + j * h
            cell = corner(left + w, top + h) - corner(left, top + h) - corner(left + w, top) + corner(left, top)
            value += cell if (i + j) % 2 == 0 else -cell
    return value
