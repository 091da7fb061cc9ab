"""Known answers of the losses. Needs PyTorch, so that it runs with the training (`run.sh`), not in CI:  python -m unittest test_losses"""

import math
import unittest

import torch

import losses


def naive_rank_n_contrast(z, y, t):
    """The formula, term by term."""
    n, total = len(y), 0.0
    sim = lambda i, j: -float((z[i] - z[j]).norm())
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            far = abs(float(y[i] - y[j]))
            rivals = [k for k in range(n) if k != i and abs(float(y[i] - y[k])) >= far]
            total += -(sim(i, j) / t - math.log(sum(math.exp(sim(i, k) / t) for k in rivals)))
    return total / (n * (n - 1))


class RankNContrast(unittest.TestCase):
    def test_equals_the_formula(self):
        for seed in range(6):
            torch.manual_seed(seed)
            z, y = torch.randn(11, 4), torch.randint(0, 4, (11,))
            if seed == 5:
                y = torch.zeros(11, dtype=torch.long)  # all tied
            got = float(losses.rank_n_contrast(z, y, 2.0))
            self.assertAlmostEqual(got, naive_rank_n_contrast(z, y, 2.0), places=5)
        z, y = torch.randn(7, 3), torch.rand(7) * 24
        self.assertAlmostEqual(float(losses.rank_n_contrast(z, y, 0.7)), naive_rank_n_contrast(z, y, 0.7), places=5)

    def test_features_in_the_order_of_labels_cost_less(self):
        y = torch.tensor([0.0, 1.0, 2.0, 3.0])
        ordered = torch.tensor([[0.0], [5.0], [10.0], [15.0]])
        shuffled = ordered[[2, 0, 3, 1]]
        self.assertLess(float(losses.rank_n_contrast(ordered, y)), float(losses.rank_n_contrast(shuffled, y)))

    def test_equal_features_have_a_gradient(self):
        z = torch.zeros(5, 3, requires_grad=True)
        losses.rank_n_contrast(z, torch.arange(5)).backward()
        self.assertTrue(torch.isfinite(z.grad).all())


class Ordinal(unittest.TestCase):
    def test_corn_learns_each_threshold_from_those_that_reached_it(self):
        logits = torch.tensor([[[0.3, -1.0, 2.0]], [[1.0, 0.5, -0.5]], [[0.0, 0.0, 0.0]]])
        grades, known = torch.tensor([[0], [2], [3]]), torch.tensor([[1], [1], [0]])
        nll = lambda x, above: -math.log(1 / (1 + math.exp(-x if above else x)))
        # grade 0 learns threshold 0 only; grade 2 all three; the third is not known
        want = (nll(0.3, False) + nll(1.0, True) + nll(0.5, True) + nll(-0.5, False)) / 4
        self.assertAlmostEqual(float(losses.corn(logits, grades, known)), want, places=6)

    def test_exceeding_never_grows_with_the_threshold(self):
        exceeds = losses.corn_exceeds(torch.randn(50, 8, 3) * 3)
        self.assertTrue((exceeds[..., 1:] <= exceeds[..., :-1]).all())
        half = losses.corn_exceeds(torch.zeros(1, 1, 3))[0, 0]
        self.assertTrue(torch.allclose(half, torch.tensor([0.5, 0.25, 0.125])))

    def test_coral_learns_every_threshold_from_every_known_segment(self):
        logits, grades = torch.tensor([[[2.0, 0.0, -2.0]]]), torch.tensor([[1]])
        nll = lambda x, above: -math.log(1 / (1 + math.exp(-x if above else x)))
        want = (nll(2.0, True) + nll(0.0, False) + nll(-2.0, False)) / 3
        self.assertAlmostEqual(float(losses.coral(logits, grades, torch.ones(1, 1))), want, places=6)


if __name__ == "__main__":
    unittest.main()
