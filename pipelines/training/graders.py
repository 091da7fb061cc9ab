"""The networks that grade the eight segments themselves, after LVLCRNet and its two comparators (Zhang et al., "Automated abdominal aortic
calcification scoring via deep learning: a multi-center validation of LVLCRNet"). The abstract is public, the architecture is not: these
are ours, built as the abstract names the parts.

All take raw grey values 0..255, [N, 1, rows, columns], and give a dictionary: `steps` [N, 8, 3], the logits of an ordinal head (CORN or
CORAL, `losses.py`); of the whole image also `assessable` [N, 8] and `view` [N, 3]; of `Lvlcrnet` also `features` [N, 4, 2, FEATURES].
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

from networks import VIEWS, ConvUnit, Residual, see

SEGMENTS = 8
STEPS = 3
LEVELS = 4
WALLS = 2
WIDTHS = (16, 24, 32, 48, 64)
# Length of the feature of one segment that Rank-N-Contrast orders.
FEATURES = 32
# Channels that are kept of each place before the linear layer.
KEPT = 16
DROPOUT = 0.2


class Encoder(nn.Module):
    """The picture and its local contrast folded `fold` x `fold` into channels, then stride 2 for each further width."""

    def __init__(self, fold: int, widths):
        super().__init__()
        self.fold = fold
        self.enter = nn.Sequential(ConvUnit(2 * fold * fold, widths[0]), Residual(widths[0]))
        self.down = nn.Sequential(*[
            layer for a, b in zip(widths[:-1], widths[1:]) for layer in (ConvUnit(a, b, 2), Residual(b))
        ])

    def forward(self, picture):
        return self.down(self.enter(F.pixel_unshuffle(see(picture), self.fold)))


class Steps(nn.Module):
    """The last layer of an ordinal head: CORN has one logit a threshold, CORAL one value and a bias for each threshold."""

    def __init__(self, inside: int, segments: int, head: str):
        super().__init__()
        self.segments, self.head = segments, head
        self.linear = nn.Linear(inside, segments * (STEPS if head == "corn" else 1))
        # Thresholds are further off the higher they are.
        self.bias = nn.Parameter(torch.tensor([-1.5, -2.0, -2.5]) if head == "coral" else torch.full((STEPS,), -1.0))

    def forward(self, y):
        return self.linear(y).unflatten(-1, (self.segments, -1)) + self.bias


class PlainGrader(nn.Module):
    """An encoder down to 8 x 4 cells and one linear layer: the plain head of the comparators.

    `whole`: 512 x 256 pixels and also what the picture is and which segments it shows (`baseline`); else 256 x 128 (`lvlnet`).
    """

    def __init__(self, whole: bool, head: str = "corn"):
        super().__init__()
        self.whole, self.head = whole, head
        self.encoder = Encoder(4 if whole else 2, WIDTHS)
        self.keep = ConvUnit(WIDTHS[-1], KEPT)
        self.dropout = nn.Dropout(DROPOUT)
        self.steps = Steps(KEPT * 32, SEGMENTS, head)
        if whole:
            self.assessable = nn.Linear(KEPT * 32, SEGMENTS)
            self.view = nn.Linear(WIDTHS[-1], VIEWS)

    def forward(self, picture):
        y = self.encoder(picture)
        flat = self.dropout(self.keep(y).flatten(1))
        given = {"steps": self.steps(flat)}
        if self.whole:
            given |= {"assessable": self.assessable(flat), "view": self.view(y.mean(dim=(2, 3)))}
        return given


class Lvlcrnet(nn.Module):
    """The straightened region, whose rows are levels: every level has 4 of 16 rows of cells, and the same layers for all levels make of them a
    feature for each wall, which Rank-N-Contrast orders by grade; an ordinal head reads the feature."""

    def __init__(self, head: str = "corn"):
        super().__init__()
        self.head = head
        self.encoder = Encoder(2, WIDTHS[:-1])
        self.keep = ConvUnit(WIDTHS[-2], KEPT)
        self.dropout = nn.Dropout(DROPOUT)
        self.feature = nn.Linear(KEPT * 4 * 8, WALLS * FEATURES)
        self.steps = nn.ModuleList(Steps(FEATURES, 1, head) for _ in range(WALLS))

    def forward(self, region):
        cells = self.keep(self.encoder(region))
        levels = cells.unflatten(2, (LEVELS, 4)).permute(0, 2, 1, 3, 4).flatten(2)
        features = self.feature(self.dropout(levels)).unflatten(-1, (WALLS, FEATURES))
        each = [steps(F.relu(features[:, :, wall])) for wall, steps in enumerate(self.steps)]
        return {"steps": torch.cat(each, dim=2).flatten(1, 2), "features": features}


def grader(network: str, head: str = "corn") -> nn.Module:
    """`baseline`, `lvlnet` or `lvlcrnet`."""
    if network == "lvlcrnet":
        return Lvlcrnet(head)
    return PlainGrader(whole=network == "baseline", head=head)
