"""The model behind docs/scale.md: right where theory is exact, near a simulation where it is not, and what the page says."""

import heapq
import math
import random
import subprocess
import sys
import unittest

from k8s import TOP, source

sys.path.insert(0, str(TOP / "tests/bench"))
import scale  # noqa: E402


def simulated(stations, waits_s, images, rounds):
    """Images a second of the same network, event by event: exponential times, first come first served."""
    draw = random.Random(1)
    free = [station.servers for station in stations]
    waiting = [[] for _ in stations]
    events, done, now = [], 0, 0.0

    def serve(at, image):
        free[at] -= 1
        heapq.heappush(events, (now + draw.expovariate(1 / stations[at].service_s), image, at))

    for image in range(images):
        heapq.heappush(events, (draw.expovariate(1 / waits_s), image, -1))
    while done < rounds:
        now, image, at = heapq.heappop(events)
        if at >= 0:
            free[at] += 1
            if waiting[at]:
                serve(at, waiting[at].pop(0))
        done += at == len(stations) - 1
        if at + 1 == len(stations):
            heapq.heappush(events, (now + draw.expovariate(1 / waits_s), image, -1))
        elif free[at + 1]:
            serve(at + 1, image)
        else:
            waiting[at + 1].append(image)
    return done / now


class Model(unittest.TestCase):
    def test_one_server_is_as_exact_as_the_machine_repair_model(self):
        # Palm's machine-repair model: the chance that the server is idle, in closed form.
        for images, service_s, waits_s in [(1, 1.0, 10.0), (10, 1.0, 10.0), (30, 0.5, 4.0)]:
            idle = 1 / sum(math.perm(images, k) * (service_s / waits_s) ** k for k in range(images + 1))
            rate, (busy,) = scale.solve([scale.Station("one", service_s, 1)], waits_s, images)
            self.assertAlmostEqual(rate, (1 - idle) / service_s, places=9)
            self.assertAlmostEqual(busy, 1 - idle, places=9)

    def test_many_servers_are_near_a_simulation(self):
        for servers, images in [((1, 3, 3), 16), ((4, 12, 8), 64), ((2, 6, 4), 20)]:
            stations = [scale.Station(str(n), s, c) for n, (s, c) in enumerate(zip([0.006, 0.023, 0.016], servers))]
            rate, _ = scale.solve(stations, 0.1, images)
            truth = simulated(stations, 0.1, images, 40_000)
            self.assertLess(abs(rate / truth - 1), 0.08, (servers, rate, truth))

    def test_the_page_says_what_the_model_computes(self):
        done = subprocess.run([sys.executable, "tests/bench/scale.py"], cwd=TOP, check=True, capture_output=True, text=True)
        self.assertIn(done.stdout.strip(), source("docs/scale.md"), "paste the output of tests/bench/scale.py anew")


if __name__ == "__main__":
    unittest.main()
