"""A cohort goes through RabbitMQ, Ceph RGW, stage services, workers and committers while all of them are killed and cut off; at the
end the table must be the one that `score` makes of the same bucket in peace.

What happens is drawn from a seed; when, from the progress that is seen: each blow falls when so many items have their rows, and a
blow that has to be felt (a half-open connection) lasts until somebody has said so. So the end does not depend on the speed of the
machine. Used by `make faults` (short) and `make prove` (long, tests/prove/faults.py)."""

import json
import random
import time

from study import OUTSIDE, Study

# Kept small, so that blows fall between commits, not all into one. A job or record in hand at a blow counts one delivery more, and
# blows come thicker here than in the life of a cluster: with the default limit of 3 the unluckiest image would be failed(crash_loop).
SETTINGS = """[queue]
delivery_limit = 50
prefetch = {prefetch}
[stages]
deadline_ms = 4000
[run]
commit_rows = {rows}
commit_after_s = 1
"""
# Blows fall while so much of the work is done: the first early, the last while there is something left.
FIRST, LAST = 0.03, 0.65
SLOW_S = (0.1, 1.0)
# Networks answer so late even in peace: images are read no faster than rows appear, so that every blow finds some in hand.
LATENCY_S = 0.4


class Bag:
    """Draws without putting back until all were drawn, so that everything has its turn whatever the seed."""

    def __init__(self, draw, things):
        self.draw, self.things, self.left = draw, sorted(things), []

    def take(self):
        self.left = self.left or self.draw.sample(self.things, len(self.things))
        return self.left.pop()


class Storm:
    def __init__(self, servers, source, seed, blows, size):
        """`blows`: name -> how often; see the methods of the same names. `size`: workers, committers, jobs in hand of a worker
        (prefetch), rows of a commit."""
        self.size = size
        self.study = Study(servers, f"storm-{seed}", SETTINGS.format(**size), seed)
        self.servers, self.source, self.draw = servers, source, random.Random(seed)
        self.blows = [name for name, times in sorted(blows.items()) for _ in range(times)]
        self.draw.shuffle(self.blows)
        self.happened = []
        self.cuts = Bag(self.draw, self.proxies())
        self.kills = Bag(self.draw, 2 * self.working() + list(self.study.stages))

    def run(self, say):
        """The record of the storm. Raises where anything was lost."""
        study, began = self.study, time.monotonic()
        alone = study.folder / "alone"
        study.run("score", self.source, f"--lake={alone}")
        expected = study.table(alone)
        say(f"score alone: {len(expected)} rows")
        for model in study.stages:
            study.stage(model)
        committers, self.workers = ([start(name) for name in self.working() if name.startswith(kind)]
                                    for start, kind in ((study.committer, "commit"), (study.worker, "worker")))
        self.calm()
        # Proxies stand before the roles that work; what looks on goes straight to the servers.
        submission = study.submit(self.source)
        items = submission["items"]
        assert items == len(expected) == submission["published"], (submission, len(expected))
        for number, blow in enumerate(self.blows):
            at = round(items * (FIRST + (LAST - FIRST) * number / max(1, len(self.blows) - 1)))
            done = study.until(f"{at} rows", lambda at=at: self.rows_done(at))
            what = getattr(self, blow)()
            self.happened.append({"at_rows": done, "blow": blow, "what": what})
            say(f"{done:5} of {items} rows: {blow.replace('_', ' ')}: {what}")
        self.calm()
        study.until("every item has its row", study.is_complete)
        return self.account(items, expected, committers, round(time.monotonic() - began))

    def rows_done(self, at):
        told = self.study.progress()
        return told[1] if told and told[1] >= at else None

    # --- the blows: each says what it did ---------------------------------------------------------------------------

    def kill(self):
        """SIGKILL to a worker, a committer or, less often, a stage service; it is started again."""
        name = self.kills.take()
        (role,) = [role for role in self.study.roles if role.name == name]
        if not role.kill():
            return f"{role.name} had ended"
        role.start()
        return role.name

    def cut(self):
        """Breaks every connection to the broker, the store, or one network."""
        name = self.cuts.take()
        return f"{self.proxies()[name].cut()} connections to {name}"

    def stall(self):
        """Half-open connections to one network until a worker has missed an answer, which is by its deadline."""
        model = self.draw.choice(sorted(self.study.stages))
        return self.stalled(model, self.study.stages[model])

    def stall_server(self):
        """The same of broker or store. The worker notices by heartbeats or by the limit of a request: up to a minute and a half."""
        name = self.draw.choice(["broker", "store"])
        return self.stalled(name, self.proxies()[name])

    def slow(self):
        """One server is further away than usual until some more rows are there."""
        name, proxy = self.draw.choice(sorted(self.proxies().items()))
        seconds = round(self.draw.uniform(*SLOW_S), 3)
        proxy.slow(proxy.delay_s + seconds)
        told = self.study.until("progress", self.study.progress)
        more = min(told[0], told[1] + max(1, told[0] // 50))
        self.study.until(f"{more} rows, slowly", lambda: self.rows_done(more))
        self.calm()
        return f"{name} by {seconds} s"

    def restart_broker(self):
        """SIGKILL to RabbitMQ, and up again where it was."""
        return self.restarted("rabbitmq.sh")

    def restart_store(self):
        """SIGKILL to all of Ceph, and up again where it was."""
        return self.restarted("s3.sh")

    def working(self):
        """Names of the roles that take from queues."""
        return [f"{kind}-{n}" for kind, number in (("commit", "committers"), ("worker", "workers")) for n in range(self.size[number])]

    def proxies(self):
        return {"broker": self.study.broker, "store": self.study.store, **self.study.stages}

    def stalled(self, name, proxy):
        before = self.felt()
        proxy.stall()
        self.study.until(f"somebody feels that {name} is half-open", lambda: self.felt() > before or self.study.is_complete())
        felt = "" if self.felt() > before else " (nobody felt it: no work was left)"
        broken = proxy.cut()
        proxy.go_on()
        return f"{name}, {broken} connections{felt}"

    def felt(self):
        """Faults, lost messages and ends of the roles so far."""
        names = ['aortica_faults_total{fault="transient"}', 'aortica_jobs_total{fate="lost"}']
        roles = [role for role in self.study.roles if role.name not in self.study.stages]
        counted = sum(role.total(name) for role in roles for name in names)
        said = sum(role.said().count("opening it anew") + role.said().count("no connection to the broker") for role in roles)
        return counted + said + sum(len(role.exits) for role in roles)

    def restarted(self, script):
        for command in ("kill", "again"):
            process = self.servers.service(script, command)
            self.study.until(f"{script} {command}", lambda process=process: process.poll() is not None)
            assert process.returncode == 0, f"{script} {command}: {process.returncode}"
        return script.removesuffix(".sh")

    def calm(self):
        for name, proxy in self.proxies().items():
            proxy.slow(LATENCY_S if name in self.study.stages else 0)
            proxy.go_on()

    # --- the account ------------------------------------------------------------------------------------------------

    def account(self, items, expected, committers, seconds):
        study = self.study
        # Duplicates may still wait on the queues although every item has its row.
        lanes = study.until("the queues are empty", self.empty_queues)
        status = study.status()
        study.tend()
        ends = {role.name: role.end() for role in study.roles if role.process.poll() is None}
        assert set(ends.values()) == {0}, f"a role did not leave in order: {ends}"
        reports = [json.loads(role.out.read_text()) for role in committers if ends.get(role.name) == 0]
        (told,) = status["submissions"]
        failed, excluded = (sum(told[name].values()) for name in ("failed", "excluded"))
        assert told["items"] == items == told["scored"] + failed + excluded and told["pending"] == 0, told
        found = study.table()
        wrong = [pair for pair in zip(expected, found) if pair[0] != pair[1]]
        assert len(found) == len(expected) and not wrong, f"{len(found)} rows of {len(expected)}, {len(wrong)} differ: {wrong[:3]}"
        in_files = {table: study.rows_in_files(table) for table in ("instances", "results")}
        keys = study.run("query", f"--lake={study.lake}", "--format", "csv",
                         "SELECT count(DISTINCT item_id), count(DISTINCT image_id) FILTER (WHERE status = 'scored') FROM readings")
        distinct = dict(zip(("instances", "results"), map(int, keys.split()[-1].split(","))))
        assert in_files == distinct and distinct["instances"] == items, f"rows in files {in_files}, keys {distinct}"
        order = study.run("reconcile", self.source, f"--lake={study.lake}")
        assert "all is in order" in order, order
        said = "".join(role.said() for role in study.roles)
        assert "panicked" not in said and not self.total('aortica_faults_total{fault="bug"}'), "a fault of our own; see the logs"
        assert not self.total("aortica_conflicts_total"), "two results of one image differ"
        blows = {}
        for happened in self.happened:
            blows[happened["blow"]] = blows.get(happened["blow"], 0) + 1
        return {
            "rows": {"items": items, "scored": told["scored"], "excluded": excluded, "failed": failed, "in_files": in_files,
                     "table": "equal to that of score"},
            "blows": blows,
            "kills": {role.name: role.killed for role in study.roles if role.killed},
            "connections_broken": {name: proxy.cuts for name, proxy in self.proxies().items()},
            "ended_by_themselves_and_restarted": {role.name: len(role.exits) for role in study.roles if role.exits},
            # A kill takes with it what was counted since the last look.
            "at_least": {
                "jobs_redelivered": self.total('aortica_redelivered_total{lane="jobs"}'),
                "records_redelivered": self.total('aortica_redelivered_total{lane="records"}'),
                "duplicate_rows_dropped": self.total("aortica_commit_duplicates_total"),
                "jobs_retried": self.total('aortica_jobs_total{fate="retried"}'),
                "jobs_whose_connection_was_lost": self.total('aortica_jobs_total{fate="lost"}'),
            },
            "last_reports_of_committers": reports,
            "queues_at_the_end": lanes,
            "seconds": seconds,
            "happened": self.happened,
        }

    def empty_queues(self):
        status = self.study.status()
        lanes = status and status["broker"].get("lanes")
        left = {lane["lane"]: lane.get("ready") for lane in lanes} if lanes else None
        # The consumers' hands are empty when the workers say so: AMQP does not tell.
        idle = all(role.metric("aortica_images_in_flight") == 0 for role in self.workers)
        return left if left and idle and not any(left.values()) else None

    def total(self, name):
        return int(sum(role.total(name) for role in self.study.roles))
