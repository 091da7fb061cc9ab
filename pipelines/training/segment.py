"""Trains the network `segment`: calcification of the anterior and the posterior wall in the canonical region.

    python segment.py --shards work/segment --validation work/segment-validation --checkpoint work/segment.pt --minutes 60
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F

import shards
from networks import WALLS, Segment

PARTS = ("regions", "valid", "labels")
# Label bits as the phantom draws them: what a reader could see.
VISIBLE_BITS = (1, 2)
DICE_WEIGHT = 0.5
# Weight of a calcified pixel in the cross-entropy: they are about one in a hundred.
PLAQUE_WEIGHT = 4.0
# Added to both sides of a Dice ratio, in pixels: a region without calcium then asks for an empty answer.
DICE_SMOOTH = 20.0


def truth_of(labels: np.ndarray) -> torch.Tensor:
    """Label bits [N, 256, 128] -> [N, 2, 256, 128] of 0 and 1."""
    return torch.from_numpy(np.stack([(labels & bit) != 0 for bit in VISIBLE_BITS], axis=1)).float()


def loss_of(network, arrays):
    regions, valid, labels = arrays
    region = torch.from_numpy(regions).unsqueeze(1).float().contiguous(memory_format=torch.channels_last)
    counted = torch.from_numpy(valid).unsqueeze(1).float()
    truth = truth_of(labels)
    with shards.autocast():
        logits = network(region)
    logits = logits.float()
    weight = (truth * (PLAQUE_WEIGHT - 1.0) + 1.0) * counted
    cells = F.binary_cross_entropy_with_logits(logits, truth, weight=weight, reduction="sum")
    entropy = cells / (counted.sum() * WALLS + 1.0) * 10.0
    probability = torch.sigmoid(logits) * counted
    shown = truth * counted
    overlap = (probability * shown).sum(dim=(2, 3))
    both = probability.sum(dim=(2, 3)) + shown.sum(dim=(2, 3))
    dice = 1.0 - ((2 * overlap + DICE_SMOOTH) / (both + DICE_SMOOTH)).mean()
    return entropy + DICE_WEIGHT * dice, {"entropy": entropy.item(), "dice_loss": dice.item()}


def grades(mask: np.ndarray) -> np.ndarray:
    """Grades of the four levels of one wall's mask [256, 128]: ceil(3 rows / 64)."""
    rows = mask.any(axis=1).reshape(4, 64).sum(axis=1)
    return (3 * rows + 63) // 64


def validate_on(folder):
    data = shards.Shards([folder], PARTS)

    def validate(network):
        dice, overlap, both, asked, agreed, zero, zero_right = [], 0, 0, 0, 0, 0, 0
        totals = []
        for start in range(0, len(data), 32):
            regions, valid, labels = data.take(range(start, min(start + 32, len(data))))
            with shards.autocast():
                logits = network(torch.from_numpy(regions).unsqueeze(1).float())
            answer = (logits.float().numpy() > 0) & (valid[:, None] != 0)
            truth = (truth_of(labels).numpy() > 0) & (valid[:, None] != 0)
            for got, true in zip(answer, truth):
                common, sizes = (got & true).sum(), got.sum() + true.sum()
                overlap, both = overlap + common, both + sizes
                if true.any():
                    dice.append(2 * common / sizes)
                pair = [np.concatenate([grades(m) for m in masks]) for masks in (got, true)]
                asked += 8
                agreed += int((pair[0] == pair[1]).sum())
                totals.append((pair[0].sum(), pair[1].sum()))
                zero += int(pair[1].sum() == 0)
                zero_right += int(pair[1].sum() == 0 and pair[0].sum() == 0)
        totals = np.array(totals, float)
        return {
            "dice_mean": round(float(np.mean(dice)), 4),
            "dice_pooled": round(float(2 * overlap / max(1, both)), 4),
            "grade_agreement_pct": round(100 * agreed / asked, 2),
            "total_mae": round(float(np.abs(totals[:, 0] - totals[:, 1]).mean()), 3),
            "zero_kept_pct": round(100 * zero_right / max(1, zero), 2),
        }

    return validate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shards.add_arguments(parser, batch=12, rate=1.5e-3)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    shards.train(options, Segment(), PARTS, loss_of, validate_on(options.validation))


if __name__ == "__main__":
    main()
