#!/usr/bin/env python3
"""How much the distributed roles carry, beside what the broker carries without them, and a large lake that is taken up again.

- limit: the same messages through the same broker by its client alone: jobs published with confirm; jobs taken, records published with
  confirm, jobs acknowledged. Durable quorum queues, persistent messages, one connection.
- worker: the worker's loop and the committer in one process, jobs to committed rows. Fetching and pixels are left out (they are in record.json: 6 ms
  an image): a reading is made up at once; its two artifacts are put into memory, its record is published with confirm, its job acknowledged.
  Then the same with a lake in Ceph RGW.
- committer: records that wait are folded into a lake of files, from a broker in memory and from RabbitMQ.
- fill, resume: a lake of a million items (`--large`: ten), written by the committer; then, in a fresh process, all that `score` does
  before it reads the first image: 10^6 names listed (from memory, a bucket's listing takes its own time), sorted, known again, compared
  with the ledger, and the keys of both tables read. Replaced files are deleted at once here; a lake keeps them for seven days.

Each is measured with only those services running that it needs, all on the cores of this machine. `processors` is the share of them that we and the broker used: near 1 it is
they that limit, else waiting (for the disk of the broker, for the store).
"""

import argparse
import datetime
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import measure

SERVICES = Path(__file__).resolve().parents[1] / "services"
BUCKET = "throughput"

# Asked for.
WANTED = {"jobs_per_s": 1_500, "readings_per_s": 20_000, "files": 500, "resume_s": 60, "resume_peak_mib": 1024}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--throughput", required=True, help="the example of that name")
    add("--work", type=Path, required=True, help="folder for lakes and services; they are deleted")
    add("--without-ceph", action="store_true", help="leave the lake in Ceph RGW out")
    add("--jobs", type=int, default=20_000, help="through the worker, and through the broker alone")
    add("--ceph-jobs", type=int, default=2_000)
    add("--rows", type=int, default=200_000, help="records folded from memory; a third of them from RabbitMQ")
    add("--items", type=int, default=500_000, help="of the lake that is taken up again")
    add("--prefetch", type=int, default=256, help="jobs that the worker holds")
    add("--large", action="store_true", help="a lake of ten million items: some ten minutes and 6 GB")
    add("--record", type=Path, default=Path("tests/bench/queue.json"))
    options = parser.parse_args()
    if options.large:
        options.items = 10_000_000
    return options


def processors(rate):
    used = rate["own_processor_s"] + (rate["broker_processor_s"] or 0)
    return used / (rate["wall_s"] * rate["cores"])


def limited_by(rate):
    share = processors(rate)
    if share < 0.8:
        return f"waiting: the processors were busy {share:.0%} of the time"
    own = rate["own_processor_s"] / (rate["own_processor_s"] + (rate["broker_processor_s"] or 0))
    return f"the {rate['cores']} cores ({share:.0%} busy: {own:.0%} of it ours, the rest the broker's)"


@contextmanager
def rabbitmq(folder):
    """A private RabbitMQ: the words that say how to reach and to watch it."""
    url = subprocess.run([SERVICES / "rabbitmq.sh", "start", folder], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        yield ["--amqp", url, "--broker-pid", (folder / "pid").read_text().strip()]
    finally:
        subprocess.run([SERVICES / "rabbitmq.sh", "stop", folder], check=False)


@contextmanager
def ceph(folder):
    """A private Ceph RGW: the words that name a lake in it."""
    lines = subprocess.run([SERVICES / "s3.sh", "start", folder, BUCKET], check=True, stdout=subprocess.PIPE, text=True).stdout
    # `export NAME=value NAME=value`
    told = dict(word.split("=", 1) for line in lines.splitlines() for word in shlex.split(line)[1:])
    try:
        yield ["--lake", f"s3://{BUCKET}/lake"] + [word for name, value in told.items() for word in ("--option", f"{name.lower()}={value}")]
    finally:
        subprocess.run([SERVICES / "s3.sh", "stop", folder], check=False)


class Bench:
    def __init__(self, options):
        self.options = options

    def run(self, what, *words):
        print(f"bench: {what} {' '.join(str(w) for w in words if '://' not in str(w) and 'secret' not in str(w))}", flush=True)
        done = measure.run([self.options.throughput, what, *words], self.options.work / f"{what}.log")
        told = json.loads(done.stdout.strip().splitlines()[-1])
        return {**told, "process_peak_mib": done.peak_mib, "process_cpu_s": done.cpu_s}

    def lake(self, name):
        folder = self.options.work / name
        shutil.rmtree(folder, ignore_errors=True)
        return ["--lake", folder]

    def all(self):
        o = self.options
        record = {"committer": self.run("commit", *self.lake("memory"), "--rows", o.rows)}
        shutil.rmtree(o.work / "memory")
        large = self.lake("large")
        record["fill"] = self.run("fill", *large, "--rows", o.items)
        record["resume"] = self.run("resume", *large, "--rows", o.items)
        shutil.rmtree(o.work / "large")
        with rabbitmq(o.work / "rabbitmq") as broker:
            record["limit"] = self.run("limit", *broker, "--messages", o.jobs, "--in-flight", o.prefetch)
            worker = [*broker, "--prefetch", o.prefetch]
            record["worker"] = self.run("worker", *worker, "--jobs", o.jobs)
            record["committer_amqp"] = self.run("commit", *self.lake("amqp"), "--rows", o.rows // 3, *broker)
            shutil.rmtree(o.work / "amqp")
            if not o.without_ceph:
                with ceph(o.work / "s3") as lake:
                    record["worker_ceph"] = self.run("worker", *worker, "--jobs", o.ceph_jobs, *lake)
        return record


def summary(record):
    jobs, limit = record["worker"]["jobs_to_rows"], record["limit"]["take_publish_confirm_ack"]
    folded, from_amqp = record["committer"]["records_to_rows"], record["committer_amqp"]["records_to_rows"]
    fill, resume = record["fill"], record["resume"]
    told = {
        "jobs_per_s": jobs["per_s"],
        "of_the_broker_alone": jobs["per_s"] / limit["per_s"],
        "jobs_limited_by": limited_by(jobs),
        "readings_per_s": folded["per_s"],
        "readings_limited_by": limited_by(folded),
        "readings_per_s_amqp": from_amqp["per_s"],
        "readings_amqp_limited_by": limited_by(from_amqp),
        "readings_per_s_growing": fill["folding"]["per_s"],
        "items": fill["rows"],
        "files": max(fill["files_at_most"], fill["tables"]["files"]),
        "resume_s": resume["until_the_first_item"]["wall_s"],
        "resume_peak_mib": resume["process_peak_mib"],
    }
    if "worker_ceph" in record:
        told["jobs_per_s_ceph"] = record["worker_ceph"]["jobs_to_rows"]["per_s"]
        told["jobs_ceph_limited_by"] = limited_by(record["worker_ceph"]["jobs_to_rows"])
    return told


def main():
    options = arguments()
    record = Bench(options).all()
    facts = {
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "release": "release" in str(options.throughput),
        "large": options.large,
    }
    told = {"facts": facts, "wanted": WANTED, "summary": summary(record), **record}
    options.record.write_text(json.dumps(told, indent=1) + "\n")
    for name, value in told["summary"].items():
        wanted = WANTED.get(name)
        shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
        print(f"{name:26} {shown}" + (f"   (wanted: {wanted:,})" if wanted else ""))
    if not options.large:
        print(f"files and resume are of {options.items:,} items; --large has ten million")
    print(f"record: {options.record}")


if __name__ == "__main__":
    sys.exit(main())
