"""Losses of the networks that grade: ordinal heads and Rank-N-Contrast. `test_losses.py` holds each against its formula."""

import torch
import torch.nn.functional as F

# Temperature of Rank-N-Contrast (Zha et al. 2023, section 4).
TEMPERATURE = 2.0


def rank_n_contrast(features: torch.Tensor, labels: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """Rank-N-Contrast (Zha et al., "Rank-N-Contrast: learning continuous representations for regression", NeurIPS 2023, equation 1).

    features [M, D], labels [M]. With sim_ij = -||z_i - z_j|| and S_ij = {k != i : |y_i - y_k| >= |y_i - y_j|}, the mean over ordered pairs
    i != j of -(sim_ij / t - log sum over k in S_ij of exp(sim_ik / t)). Each anchor's others are sorted by distance of label once; S_ij is
    then a suffix, the same for tied distances: O(M^2 log M).
    """
    count = len(labels)
    others = ~torch.eye(count, dtype=torch.bool)
    similarity = -torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist") / temperature
    similarity = similarity[others].reshape(count, count - 1)
    far = (labels[:, None] - labels[None]).abs().float()[others].reshape(count, count - 1)
    far, order = far.sort(dim=1)
    similarity = similarity.gather(1, order)
    suffix = similarity.flip(1).logcumsumexp(1).flip(1)
    first_of_tie = torch.searchsorted(far, far, side="left")
    return (suffix.gather(1, first_of_tie) - similarity).mean()


def corn(logits: torch.Tensor, grades: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """CORN (Shi, Cao & Raschka 2021): threshold k learns P(y > k | y > k-1) from the segments with y > k-1 alone.

    logits [.., K], grades [..] 0..=K, known [..] (0 leaves a segment out). Mean cross-entropy over all segments and thresholds that learn.
    """
    steps = torch.arange(logits.shape[-1])
    learns = (grades[..., None] >= steps) & (known[..., None] != 0)
    above = (grades[..., None] > steps).float()
    each = F.binary_cross_entropy_with_logits(logits, above, reduction="none")
    return (each * learns).sum() / learns.sum().clamp_min(1)


def corn_exceeds(logits: torch.Tensor) -> torch.Tensor:
    """P(y > k) [.., K] as the product of the conditional probabilities: never rises with k."""
    given = torch.sigmoid(logits)
    products = [given[..., 0]]
    for k in range(1, given.shape[-1]):
        products.append(products[-1] * given[..., k])
    return torch.stack(products, dim=-1)


def coral(logits: torch.Tensor, grades: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """CORAL (Cao, Mirjalili & Raschka 2020): every threshold learns P(y > k) from every segment. `logits` are one value for the segment plus a
    bias for each threshold. Shapes as in `corn`."""
    above = (grades[..., None] > torch.arange(logits.shape[-1])).float()
    each = F.binary_cross_entropy_with_logits(logits, above, reduction="none")
    weight = (known[..., None] != 0).expand_as(each)
    return (each * weight).sum() / weight.sum().clamp_min(1)


def coral_exceeds(logits: torch.Tensor) -> torch.Tensor:
    """P(y > k) [.., K]; none above the one before, also where the biases are out of order."""
    above = torch.sigmoid(logits)
    least = [above[..., 0]]
    for k in range(1, above.shape[-1]):
        least.append(torch.minimum(least[-1], above[..., k]))
    return torch.stack(least, dim=-1)
