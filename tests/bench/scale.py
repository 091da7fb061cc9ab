#!/usr/bin/env python3
"""What a cluster of a given size reads in a day, what it costs, and what saturates first: a model on paper, from measured times.

    python3 tests/bench/scale.py                      the tables of docs/scale.md
    python3 tests/bench/scale.py --workers 40 --locate-cores 64 --segment-cores 48
    python3 tests/bench/scale.py --gpu-images-per-s 3000 --gpu-hour 4

Measured (tests/bench/record.json, infer.json, queue.json): processor time of an image outside the networks, requests a second that a
stage service answers on its cores, time of a committed row. Assumed, each an option: waits of store and broker, prices, messages
a second of the broker. The rest is queueing theory:

- Workers hold `prefetch` images each; each image goes round worker's processor, stage `locate`, stage `segment`, store and broker, and
  then the next takes its place: a closed network, solved by mean value analysis (Reiser and Lavenberg, J. ACM 27, 1980). A station of c
  servers counts as one that is c times as fast and a wait (Seidmann, Schweitzer and Shalev-Oren, Oper. Res. 35, 1987).
- The committer stands behind a queue and does not slow the workers; what it cannot fold a second waits, so the whole lasts no faster.
"""

import argparse
import json
import math
import pathlib
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
DAY_S = 86_400
# Stage services are given so many cores that their share of busy time stays below this.
BUSY_MAX = 0.85

# The reading of an image, then what became of its item: the second is put when the first is there.
PUTS = 2


@dataclass(frozen=True)
class Station:
    """Where an image is served."""

    name: str
    service_s: float  # of one image, on one server
    servers: int


def solve(stations, waits_s, images):
    """Throughput (images a second) of a closed network, and the busy share of each station.

    `stations`: where images queue; `waits_s`: the time of a round in which they queue for nothing; `images`: how many go round.
    """
    fast = [station.service_s / station.servers for station in stations]
    waits_s += sum(s.service_s * (s.servers - 1) / s.servers for s in stations)
    queued = [0.0] * len(stations)
    rate = 0.0
    for inside in range(1, images + 1):
        times = [service * (1 + length) for service, length in zip(fast, queued)]
        rate = inside / (waits_s + sum(times))
        queued = [rate * time for time in times]
    return rate, [rate * service for service in fast]


def measured():
    """Seconds: an image outside the networks and in each network behind a service, of one core; a row through the committer."""
    record = json.loads((HERE / "record.json").read_text())
    infer = json.loads((HERE / "infer.json").read_text())
    cores = infer["facts"]["cores"]
    stage = {name: cores / infer["light_client"][name]["saturated"]["requests_per_s"] for name in ["locate", "segment"]}
    queue = HERE / "queue.json"
    if queue.exists():
        # As fast as it folded records from RabbitMQ, with the broker on the same cores.
        commit = 1 / json.loads(queue.read_text())["summary"]["readings_per_s_amqp"]
        return {"worker": record["summary"]["aortica"]["outside_ms_per_image"] / 1000, **stage, "commit": commit}
    # Everything of the process but decoding, pixels and networks: listing, reading, committing, starting. Where the committer alone
    # has not been measured, it takes no more than this.
    rest = sorted((r["aortica"]["threads_cpu_s"]["aortica"] + r["aortica"]["threads_cpu_s"]["tokio-rt-worker"]) / r["images"]
                  for r in record["rounds"])
    return {"worker": record["summary"]["aortica"]["outside_ms_per_image"] / 1000, **stage, "commit": rest[len(rest) // 2]}


@dataclass(frozen=True)
class Cluster:
    workers: int
    locate_cores: int
    segment_cores: int
    images_per_s: float
    busy: dict  # station -> share of its time
    first: str  # what saturates first


def cluster(options, times, workers, locate_cores, segment_cores):
    stations = [
        Station("workers", times["worker"], workers * options.worker_cores),
        Station("locate", times["locate"], locate_cores),
        Station("segment", times["segment"], segment_cores),
        # A job taken and acknowledged, a record published, taken and acknowledged.
        Station("broker", 2 / options.broker_messages_per_s, 1),
    ]
    waits_s = (options.get_ms + PUTS * options.put_ms + options.confirm_ms) / 1000
    rate, busy = solve(stations, waits_s, workers * options.prefetch)
    limit = 1 / times["commit"]
    images_per_s = min(rate, limit)
    shares = {station.name: share * images_per_s / rate for station, share in zip(stations, busy)}
    shares["committer"] = images_per_s / limit
    first = max(shares, key=shares.get)
    if shares[first] < BUSY_MAX:
        first = "images in hand"  # nothing is busy: more of them, or less waiting, would give more
    return Cluster(workers, locate_cores, segment_cores, images_per_s, shares, first)


def matched(options, times, workers):
    """Stage cores as few as let the workers work: what they and the committer could do at best, at BUSY_MAX."""
    waits_s = (options.get_ms + PUTS * options.put_ms + options.confirm_ms) / 1000 + times["worker"] + times["locate"] + times["segment"]
    wanted = min(workers * options.worker_cores / times["worker"], workers * options.prefetch / waits_s, 1 / times["commit"])
    cores = [max(1, math.ceil(wanted * times[name] / BUSY_MAX)) for name in ["locate", "segment"]]
    return cluster(options, times, workers, *cores)


def cost_per_million(options, of):
    """Dollars for a million images: the cluster's hours, and the store's requests."""
    cores = of.workers * options.worker_cores + of.locate_cores + of.segment_cores + options.other_cores
    hours = 1e6 / of.images_per_s / 3600
    return hours * cores * options.core_hour + 1e6 * (PUTS * options.put_price + options.get_price) / 1000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workers", type=int, help="one cluster instead of the tables")
    add("--locate-cores", type=int, help="of that cluster; default: as many as the workers need")
    add("--segment-cores", type=int)
    add("--worker-ms", type=float, help="processor time of an image outside the networks; default: as measured")
    add("--worker-cores", type=int, default=1, help="of each worker")
    add("--prefetch", type=int, default=16, help="images that a worker holds")
    add("--get-ms", type=float, default=30, help="assumed: to read an image from the store")
    add("--put-ms", type=float, default=60, help="assumed: to put an artifact")
    add("--confirm-ms", type=float, default=10, help="assumed: to publish with confirm and to acknowledge")
    add("--broker-messages-per-s", type=float, default=10_000, help="assumed: persistent messages through quorum queues")
    add("--core-hour", type=float, default=0.04, help="assumed: dollars")
    add("--gpu-hour", type=float, default=4.0, help="assumed: dollars")
    add("--gpu-images-per-s", type=float, help="both networks on one GPU; not measured so far")
    add("--get-price", type=float, default=0.0004, help="assumed: dollars for 1,000 reads")
    add("--put-price", type=float, default=0.005, help="assumed: dollars for 1,000 puts")
    add("--other-cores", type=float, default=13, help="three brokers of 4 cores, two committers of half a core")
    return parser.parse_args()


def table(options, clusters):
    print("| workers | cores for locate / segment | images a second | images a day, millions | dollars a million | first to saturate |")
    print("|---:|---:|---:|---:|---:|---|")
    for of in clusters:
        first = f"{of.first} ({of.busy[of.first]:.0%})" if of.first in of.busy else of.first
        print(f"| {of.workers:,} | {of.locate_cores} / {of.segment_cores} | {of.images_per_s:,.0f} "
              f"| {of.images_per_s * DAY_S / 1e6:,.1f} | {cost_per_million(options, of):.2f} | {first} |")


def main():
    options, times = arguments(), measured()
    if options.worker_ms:
        times["worker"] = options.worker_ms / 1000
    if options.workers:
        default = matched(options, times, options.workers)
        cores = options.locate_cores or default.locate_cores, options.segment_cores or default.segment_cores
        table(options, [cluster(options, times, options.workers, *cores)])
        return
    commit = "committer, its whole process" if (HERE / "queue.json").exists() else "committer, at most"
    print("| milliseconds of one core for an image | |\n|---|---:|")
    for name, said in [("worker", "worker: decode, pixels, scoring"), ("locate", "stage service `locate`"),
                       ("segment", "stage service `segment`"), ("commit", commit)]:
        digits = 1 if times[name] >= 1e-3 else 3
        print(f"| {said} | {times[name] * 1000:.{digits}f} |")
    print("\nStage services as large as the workers need:\n")
    table(options, [matched(options, times, workers) for workers in [1, 10, 100, 1000]])
    print("\nThe overlay `cpu` as it is, 12 cores for `locate` and 8 for `segment`:\n")
    table(options, [cluster(options, times, workers, 12, 8) for workers in [1, 2, 5, 10, 50]])
    on_cores = (times["locate"] + times["segment"]) * options.core_hour / 3600
    even = options.gpu_hour / 3600 / on_cores
    print(f"\nA GPU at {options.gpu_hour:.2f} dollars an hour is cheaper than cores at {options.core_hour:.2f} from {even:,.0f} images a second on"
          " (both networks together).")
    if options.gpu_images_per_s:
        per_million = 1e6 * options.gpu_hour / 3600 / options.gpu_images_per_s
        print(f"At {options.gpu_images_per_s:,.0f} a second the networks cost {per_million:.2f} dollars a million on it, {on_cores * 1e6:.2f} on cores.")


if __name__ == "__main__":
    main()
