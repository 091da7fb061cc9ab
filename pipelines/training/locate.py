"""Trains the network `locate`: named vertebral corners as heatmaps, and the kind of view.

    python locate.py --shards work/locate --validation work/locate-validation --checkpoint work/locate.pt --minutes 60
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F

import shards
from networks import HEATMAP_SHAPE, LANDMARKS, Locate

PARTS = ("images", "corners", "view")
SIGMA_CELLS = 1.5
# Weight of a cell at the corner over one far from it: a heatmap has 8192 cells and about 14 near the corner.
PEAK_WEIGHT = 40.0
# Weight of the cross-entropy between a heatmap as a distribution over cells and the truth: it finds the corner early.
PLACE_WEIGHT = 0.05
VIEW_WEIGHT = 0.2
# A level is named wrongly when its corners lie nearer than this share of a vertebral spacing to a neighbour's place.
SHIFT_SHARE = 0.5


def truth_heatmaps(corners: torch.Tensor) -> torch.Tensor:
    """[N, 26, 3] (x, y in stage pixels, present) -> [N, 26, 128, 64]; cell (i, j) is centred on stage (4j+1.5, 4i+1.5)."""
    rows, columns = HEATMAP_SHAPE
    x = (corners[..., 0:1] - 1.5) / 4 - torch.arange(columns)
    y = (corners[..., 1:2] - 1.5) / 4 - torch.arange(rows)
    across = torch.exp(-0.5 * (x / SIGMA_CELLS) ** 2) * corners[..., 2:3]
    down = torch.exp(-0.5 * (y / SIGMA_CELLS) ** 2)
    return down.unsqueeze(-1) * across.unsqueeze(-2)


class HeatmapLoss(torch.autograd.Function):
    """Weighted binary cross-entropy on all cells plus cross-entropy of place for corners that are present.

    Written with its gradient, because on 26 x 8192 cells the intermediate results of autograd cost more than the network.
    """

    @staticmethod
    def forward(context, logits, truth, present):
        n, channels, rows, columns = logits.shape
        z = logits.float()
        weight = truth * PEAK_WEIGHT + 1.0
        cells = (F.softplus(z) - z * truth).mul_(weight)
        scale = 1.0 / (n * channels)
        cell_scale = scale / (14.0 * PEAK_WEIGHT / 2.0)
        loss = cells.sum() * cell_scale
        gradient = torch.sigmoid(z).sub_(truth).mul_(weight).mul_(cell_scale)
        flat = z.reshape(n, channels, -1)
        target = truth.reshape(n, channels, -1)
        target = target / target.sum(-1, keepdim=True).clamp_min(1e-6)
        log_share = F.log_softmax(flat, dim=-1)
        share_scale = PLACE_WEIGHT * scale * present.unsqueeze(-1)
        loss = loss - (target * log_share * share_scale).sum()
        gradient += (log_share.exp_().sub_(target).mul_(share_scale)).reshape(z.shape)
        context.save_for_backward(gradient)
        context.dtype = logits.dtype
        return loss

    @staticmethod
    def backward(context, upstream):
        (gradient,) = context.saved_tensors
        return (gradient * upstream).to(context.dtype), None, None


def loss_of(network, arrays):
    images, corners, view = arrays
    image = torch.from_numpy(images).unsqueeze(1).float().contiguous(memory_format=torch.channels_last)
    corners = torch.from_numpy(corners)
    with shards.autocast():
        heatmaps, views = network(image)
    place = HeatmapLoss.apply(heatmaps.contiguous(), truth_heatmaps(corners), corners[..., 2])
    kind = F.cross_entropy(views.float(), torch.from_numpy(view.astype(np.int64)))
    return place + VIEW_WEIGHT * kind, {"place": place.item(), "kind": kind.item()}


def decode(heatmaps: np.ndarray, reach=3):
    """[26, 128, 64] -> x, y in stage pixels and peak: the centre of mass of the cells within `reach` of the highest."""
    rows, columns = HEATMAP_SHAPE
    out = np.zeros((LANDMARKS, 3), np.float32)
    for channel, heatmap in enumerate(heatmaps):
        i, j = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
        i0, i1, j0, j1 = max(0, i - reach), min(rows, i + reach + 1), max(0, j - reach), min(columns, j + reach + 1)
        patch = heatmap[i0:i1, j0:j1]
        mass = max(float(patch.sum()), 1e-9)
        y = float((patch.sum(1) * np.arange(i0, i1)).sum()) / mass
        x = float((patch.sum(0) * np.arange(j0, j1)).sum()) / mass
        out[channel] = (4 * x + 1.5, 4 * y + 1.5, heatmap[i, j])
    return out


def vertebral_height(corners: np.ndarray) -> float:
    """Mean height of the vertebral bodies L1..L4 in stage pixels, from truth corners [26, 3]; 0 when none is present."""
    heights = []
    for level in range(1, 5):
        four = corners[4 * level : 4 * level + 4]
        if four[:, 2].all():
            heights.append(np.linalg.norm((four[0] + four[1] - four[2] - four[3])[:2]) / 2)
    return float(np.mean(heights)) if heights else 0.0


def validate_on(folder):
    data = shards.Shards([folder], PARTS)

    def validate(network):
        errors, shifted, pictures, right, count, found, asked = [], 0, 0, 0, 0, 0, 0
        for start in range(0, len(data), 32):
            images, corners, view = data.take(range(start, min(start + 32, len(data))))
            with shards.autocast():
                heatmaps, views = network(torch.from_numpy(images).unsqueeze(1).float())
            heatmaps = torch.sigmoid(heatmaps.float()).numpy()
            right += int((views.float().argmax(1).numpy() == view).sum())
            count += len(view)
            for maps, truth, kind in zip(heatmaps, corners, view):
                height = vertebral_height(truth)
                if kind != 0 or height <= 0:
                    continue
                got = decode(maps)
                rows = [c for c in range(4, 20) if truth[c, 2]]
                distance = np.linalg.norm(got[rows, :2] - truth[rows, :2], axis=1) / height
                errors.extend(distance)
                found += int((got[rows, 2] > 0.3).sum())
                asked += len(rows)
                pictures += 1
                shifted += int(np.median(distance) > SHIFT_SHARE)
        return {
            "corner_error_pct": round(100 * float(np.mean(errors)), 2),
            "corner_error_median_pct": round(100 * float(np.median(errors)), 2),
            "shifted_pct": round(100 * shifted / max(1, pictures), 2),
            "found_pct": round(100 * found / max(1, asked), 2),
            "view_pct": round(100 * right / max(1, count), 2),
        }

    return validate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shards.add_arguments(parser, batch=8, rate=1.5e-3)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    shards.train(options, Locate(), PARTS, loss_of, validate_on(options.validation))


if __name__ == "__main__":
    main()
