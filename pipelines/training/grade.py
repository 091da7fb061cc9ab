"""Trains a network that grades the eight segments itself: `baseline` (whole image), `lvlnet` (picture around the located vertebrae) or
`lvlcrnet` (straightened region, Rank-N-Contrast).

    python grade.py lvlcrnet --shards work/grade --validation work/grade-validation --checkpoint work/lvlcrnet.pt --until 4000
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F

import losses
import shards
from graders import grader

# The picture part of each network's shards.
PICTURES = {"baseline": "images", "lvlnet": "spines", "lvlcrnet": "regions"}
LABELS = ("grades", "assessable", "view")
RANK_WEIGHT = 0.2
ASSESSABLE_WEIGHT = 0.3
VIEW_WEIGHT = 0.3
LOSS_OF_HEAD = {"corn": losses.corn, "coral": losses.coral}
# From a sample's total 0..24 to how often it is drawn: by the inverse square root of how common its total is.
BALANCE_POWER = 0.5


def parts_of(network: str):
    return (PICTURES[network], *LABELS)


def exceeds(head: str, steps: torch.Tensor) -> torch.Tensor:
    """P(y > k) [N, 8, 3] of a head's logits."""
    return losses.corn_exceeds(steps) if head == "corn" else losses.coral_exceeds(steps)


class Balanced:
    """Draws samples with a rare total more often than one finds them: most segments are 0."""

    def __init__(self, place: int):
        # Of `grades` among the parts.
        self.place = place
        self.ends = np.zeros(0)

    def __call__(self, data, random, count):
        if len(self.ends) != len(data):
            totals = np.concatenate([np.asarray(shard[self.place]).sum(axis=1) for shard in data.shards])
            common = np.bincount(totals, minlength=25)
            self.ends = np.cumsum(common[totals] ** -BALANCE_POWER)
        return data.take(np.searchsorted(self.ends, random.random(count) * self.ends[-1], side="right"))


def loss_of(network, arrays):
    pictures, grades, assessable, view = arrays
    picture = torch.from_numpy(pictures).unsqueeze(1).float().contiguous(memory_format=torch.channels_last)
    grades, known = torch.from_numpy(grades.astype(np.int64)), torch.from_numpy(assessable)
    with shards.autocast():
        given = network(picture)
    given = {name: value.float() for name, value in given.items()}
    ordinal = LOSS_OF_HEAD[network.head](given["steps"], grades, known)
    loss, numbers = ordinal, {"ordinal": ordinal.item()}
    if "features" in given:
        by_level = lambda array, wall: array.reshape(len(array), 4, 2)[:, :, wall]
        ranked = []
        for wall in range(2):
            learns = by_level(known, wall) != 0
            ranked.append(losses.rank_n_contrast(given["features"][:, :, wall][learns], by_level(grades, wall)[learns]))
        rank = sum(ranked) / 2
        loss, numbers = loss + RANK_WEIGHT * rank, numbers | {"rank": rank.item()}
    if "view" in given:
        kind = F.cross_entropy(given["view"], torch.from_numpy(view.astype(np.int64)))
        seen = F.binary_cross_entropy_with_logits(given["assessable"], known.float())
        loss = loss + VIEW_WEIGHT * kind + ASSESSABLE_WEIGHT * seen
        numbers |= {"kind": kind.item(), "seen": seen.item()}
    return loss, numbers


def validate_on(folder, name):
    data = shards.Shards([folder], parts_of(name))

    def validate(network):
        agreed, asked, totals, views, seen, sure = 0, 0, [], [], [], []
        for start in range(0, len(data), 32):
            pictures, grades, assessable, view = data.take(range(start, min(start + 32, len(data))))
            with shards.autocast():
                given = network(torch.from_numpy(pictures).unsqueeze(1).float())
            above = exceeds(network.head, given["steps"].float()).numpy()
            got, known = (above >= 0.5).sum(axis=-1), assessable != 0
            asked += int(known.sum())
            agreed += int((got == grades)[known].sum())
            complete = known.all(axis=1)
            totals.extend(zip(got.sum(axis=1)[complete], grades.sum(axis=1)[complete]))
            if "view" in given:
                views.extend(given["view"].float().argmax(1).numpy() == view)
                seen.extend(((given["assessable"].float().numpy() > 0) == known)[view == 0].ravel())
        totals = np.array(totals, float)
        got, true = totals[:, 0], totals[:, 1]
        spread = ((true - true.mean()) ** 2).sum()
        metrics = {
            "grade_agreement_pct": round(100 * agreed / asked, 2),
            "total_mae": round(float(np.abs(got - true).mean()), 3),
            "total_r2": round(float(1 - ((got - true) ** 2).sum() / spread), 3),
            "zero_kept_pct": round(100 * float((got[true == 0] == 0).mean()), 2),
        }
        if views:
            metrics |= {"view_pct": round(100 * float(np.mean(views)), 2), "assessable_pct": round(100 * float(np.mean(seen)), 2)}
        return metrics

    return validate


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=PICTURES)
    parser.add_argument("--head", choices=LOSS_OF_HEAD, default="corn", help="ordinal head (default %(default)s)")
    shards.add_arguments(parser, batch=32, rate=1.5e-3)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    parts = parts_of(options.network)
    draw = Balanced(parts.index("grades"))
    shards.train(
        options, grader(options.network, options.head), parts, loss_of, validate_on(options.validation, options.network), draw=draw
    )


if __name__ == "__main__":
    main()
