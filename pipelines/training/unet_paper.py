"""Trains the U-nets of Chaplin & Cootes ("Automated scoring of aortic calcification in vertebral fracture assessment images",
sections 2.3 and 2.4) by their recipe: batch normalisation after every convolution, zero padding, dropout .5 between the convolutions
of the contracting path, plain binary cross-entropy, Adam at 1e-4, batches of 4, 5 epochs of 3,750 regions.

    python unet_paper.py binary      --shards work/segment --validation work/segment-validation --checkpoint work/unet-binary.pt
    python unet_paper.py multi-class --shards work/segment --validation work/segment-validation --checkpoint work/unet-paper.pt

The paper prints no width. Ours is WIDTH below, an eighth of the first U-net's (Ronneberger et al. 2015), so that five folds can be
trained and the network run on a processor; `--width` takes another. A narrow network moves its answers slowly at a rate of 1e-4, and
would spend its 5 epochs on learning that calcium is rare: the bias of the last layer starts at PRIOR_LOGIT. That and the width are what
we add to the recipe.
"""

import argparse

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import segment
import shards

PARTS = segment.PARTS
# Channels of the finest level; each of the four deeper ones has twice as many as the one above.
WIDTH = 8
DEPTH = 4
DROPOUT = 0.5
RATE = 1e-4
BATCH = 4
# 5 epochs of 3,750 regions in batches of 4.
STEPS = 5 * 3750 // BATCH
# About one pixel in a hundred is calcified.
PRIOR_LOGIT = -4.6
CHANNELS = {"binary": 1, "multi-class": 2}
PAPER = shards.Recipe(
    optimiser=lambda network, rate: torch.optim.Adam(network.parameters(), lr=rate),
    rate_at=lambda progress, step: 1.0,
    average_decay=0.0,
    gradient_max=float("inf"),
)


def unit(inside, outside):
    return [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]


class UnetPaper(nn.Module):
    """U-net of four levels and a bottom.

    forward: [N, 1, 256, 128] grey values 0..255 -> calcification logits [N, channels, 256, 128]: one channel for both walls together
    (`binary`), or anterior and posterior (`multi-class`).
    """

    def __init__(self, channels: int, width: int = WIDTH):
        super().__init__()
        widths = [width << level for level in range(DEPTH + 1)]
        self.down = nn.ModuleList(
            nn.Sequential(*unit(a, b), nn.Dropout(DROPOUT), *unit(b, b)) for a, b in zip([1, *widths], widths)
        )
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in reversed(widths[:-1]))
        self.up = nn.ModuleList(nn.Sequential(*unit(2 * w, w), *unit(w, w)) for w in reversed(widths[:-1]))
        self.heads = nn.Conv2d(width, channels, 1)
        nn.init.constant_(self.heads.bias, PRIOR_LOGIT)

    def forward(self, region):
        y = region * (1.0 / 255.0)
        skips = []
        for level, down in enumerate(self.down):
            y = down(y if level == 0 else F.max_pool2d(y, 2))
            skips.append(y)
        y = skips.pop()
        for enlarge, up in zip(self.enlarge, self.up):
            y = up(torch.cat([skips.pop(), enlarge(y)], dim=1))
        return self.heads(y)


def truth_of(labels: np.ndarray, channels: int) -> torch.Tensor:
    """Label bits [N, 256, 128] -> [N, channels, 256, 128] of 0 and 1."""
    walls = segment.truth_of(labels)
    return walls if channels == 2 else walls.amax(dim=1, keepdim=True)


def loss_with(channels):
    def loss_of(network, arrays):
        regions, _valid, labels = arrays
        region = torch.from_numpy(regions).unsqueeze(1).float().contiguous(memory_format=torch.channels_last)
        with shards.autocast():
            logits = network(region)
        loss = F.binary_cross_entropy_with_logits(logits.float(), truth_of(labels, channels))
        return loss, {"entropy": loss.item()}

    return loss_of


def validate_on(folder, channels):
    """Overlap with the truth as the paper measures it: per region with calcium, both walls together, mean and SD."""
    data = shards.Shards([folder], PARTS)

    def validate(network):
        dice, jaccard, right = [], [], []
        for start in range(0, len(data), 32):
            regions, _valid, labels = data.take(range(start, min(start + 32, len(data))))
            with shards.autocast():
                logits = network(torch.from_numpy(regions).unsqueeze(1).float())
            got = (logits.float() > 0).any(dim=1).numpy()
            truth = truth_of(labels, 1)[:, 0].numpy() > 0
            for mask, true in zip(got, truth):
                if not true.any():
                    continue
                common, either = (mask & true).sum(), (mask | true).sum()
                dice.append(2 * common / (common + either))
                jaccard.append(common / either)
                right.append((mask == true).mean())
        return {
            "paper_dice_mean": round(float(np.mean(dice)), 4),
            "paper_dice_sd": round(float(np.std(dice)), 4),
            "paper_jaccard_mean": round(float(np.mean(jaccard)), 4),
            "paper_accuracy_pct": round(100 * float(np.mean(right)), 2),
        }

    return validate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classes", choices=CHANNELS, help="one class (calcified), or one for each wall")
    shards.add_arguments(parser, batch=BATCH, rate=RATE)
    parser.add_argument("--width", type=int, default=WIDTH, help="channels of the finest level (default %(default)s)")
    parser.set_defaults(steps=STEPS)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    channels = CHANNELS[options.classes]
    shards.train(
        options, UnetPaper(channels, options.width), PARTS, loss_with(channels), validate_on(options.validation, channels), PAPER
    )


if __name__ == "__main__":
    main()
