"""The policies against real servers: a study goes through with one identity a role, and what a role has no business with
is refused. Needs RabbitMQ and Ceph RGW (tests/services); CI requires them."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

from k8s import AORTICA, TOP, source

sys.path.insert(0, str(TOP / "tests/services"))
from s3_put import send  # noqa: E402

ROLES = ["submit", "worker", "commit", "reader"]
LAKE = "s3://aortica-lake/study"
SECRET = "notasecret0123456789"


def policy(bucket):
    """A bucket's policy as Ceph takes it: its users in place of AWS's roles; the sockets of the test have no TLS."""
    text = (TOP / f"k8s/policies/{bucket}-bucket.json").read_text()
    read = json.loads(text.replace("arn:aws:iam::111122223333:role/aortica-", "arn:aws:iam:::user/"))
    kept = [statement for statement in read["Statement"] if statement["Sid"] != "OnlyByTls"]
    assert len(kept) == len(read["Statement"]) - 1
    return json.dumps({**read, "Statement": kept})


class Policies(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Short, because Ceph's sockets lie in it.
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="aortica-")))
        try:
            cls.start()
        except subprocess.CalledProcessError as error:
            if os.environ.get("CI") == "true":
                raise AssertionError(f"{error}: {error.stderr}") from error
            cls.doClassCleanups()
            raise unittest.SkipTest(f"RabbitMQ or Ceph RGW cannot be had here; CI requires them: {error}: {error.stderr}")

    @classmethod
    def start(cls):
        def service(script, *arguments):
            path = str(TOP / "tests/services" / script)
            folder = str(cls.folder / script)
            cls.addClassCleanup(subprocess.run, [path, "stop", folder])
            return subprocess.run([path, "start", folder, *arguments], check=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True).stdout

        # One after the other: each installs its packages where they are missing, and apt serves one at a time.
        cls.amqp = service("rabbitmq.sh").strip()
        printed = service("s3.sh", "aortica-images", "aortica-lake")
        cls.owner = dict(pair.split("=", 1) for line in printed.splitlines() for pair in line.removeprefix("export ").split())
        cls.make_users()
        put = [sys.executable, str(TOP / "tests/services/s3_put.py")]
        for bucket in ["images", "lake"]:
            file = cls.folder / f"{bucket}.json"
            file.write_text(policy(bucket))
            subprocess.run([*put, "policy", f"aortica-{bucket}", str(file)], check=True, env={**os.environ, **cls.owner})
        cls.role("owner", "phantom", "--participants=3", "--seed=5", f"--out={cls.folder}/cohort")
        subprocess.run([*put, "folder", f"{cls.folder}/cohort/images", "aortica-images", "a"], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, **cls.owner})

    @classmethod
    def make_users(cls):
        # rabbitmqctl finds its node by what rabbitmq.sh has written.
        control = cls.folder / "rabbitmqctl"
        control.write_text(f'#!/bin/sh\n. {cls.folder}/rabbitmq.sh/env\nexec /usr/lib/rabbitmq/bin/rabbitmqctl "$@"\n')
        control.chmod(0o755)
        def run(*command):
            subprocess.run(command, check=True, capture_output=True, text=True)

        for role in ["submit", "worker", "commit", "monitor"]:
            run(control, "--quiet", "add_user", f"aortica-{role}", SECRET)
        for role in ROLES:
            run("radosgw-admin", "-c", f"{cls.folder}/s3.sh/ceph.conf", "-n", "client.rgw", "user", "create", f"--uid={role}",
                f"--display-name={role}", f"--access-key={role}", f"--secret={SECRET}")
        subprocess.run([TOP / "k8s/policies/rabbitmq.sh", "/", "aortica"], check=True,
                       env={**os.environ, "RABBITMQCTL": str(control)})

    @classmethod
    def environment(cls, role, broker_user=None):
        """Of a role: its own keys, its own user."""
        own = {} if role == "owner" else {"AWS_ACCESS_KEY_ID": role, "AWS_SECRET_ACCESS_KEY": SECRET}
        url = cls.amqp.replace("guest:guest", f"aortica-{broker_user or role}:{SECRET}")
        return {**os.environ, **cls.owner, **own, "AORTICA_AMQP_URL": url, "NO_COLOR": "1"}

    @classmethod
    def role(cls, role, *arguments, broker_user=None, code=0):
        settings = cls.folder / "settings.toml"
        settings.write_text(f'[study]\nkey_file = "{cls.folder}/study.key"\n[run]\ncommit_after_s = 1\n')
        done = subprocess.run([AORTICA, *arguments, f"--settings={settings}"], cwd=TOP, capture_output=True, text=True,
                              env=cls.environment(role, broker_user), timeout=120)
        assert done.returncode == code, f"{role}: aortica {' '.join(arguments)}: {done.returncode}\n{done.stderr}"
        return done.stdout + done.stderr

    @contextlib.contextmanager
    def in_background(self, role, *arguments):
        with (self.folder / f"{role}.log").open("w") as log:
            process = subprocess.Popen([AORTICA, *arguments, f"--settings={self.folder}/settings.toml"], cwd=TOP, stdout=log,
                                       stderr=log, env=self.environment(role))
        try:
            yield process
        finally:
            process.terminate()
            self.assertEqual(process.wait(60), 0, (self.folder / f"{role}.log").read_text())

    def status(self, role, method, bucket, key):
        return self.ask(role, method, bucket, key)[0]

    def ask(self, role, method, bucket, key, body=b"", query=""):
        environment = self.environment(role)
        host = urllib.parse.urlparse(environment["AWS_ENDPOINT"]).netloc
        saved = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
                return send(connection, host, method, f"/{bucket}/{key}", body, query)
        finally:
            for name, value in saved.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def test_a_study_goes_through_and_nobody_may_do_the_others_work(self):
        # The tables are the committer's to make.
        message = self.role("worker", "worker", f"--lake={LAKE}", "--threads=1", code=3)
        self.assertNotIn(SECRET, message)
        with self.in_background("commit", "commit", f"--lake={LAKE}", "--http=127.0.0.1:0") as committer:
            first = "study/instances/_delta_log/00000000000000000000.json"
            give_up = time.monotonic() + 60
            while self.status("commit", "GET", "aortica-lake", first) != 200:
                waiting = committer.poll() is None and time.monotonic() < give_up
                self.assertTrue(waiting, (self.folder / "commit.log").read_text())
                time.sleep(0.1)
            with self.in_background("worker", "worker", f"--lake={LAKE}", "--threads=2", "--http=127.0.0.1:0"):
                submitted = json.loads(self.role("submit", "submit", "s3://aortica-images/a", f"--lake={LAKE}", "--json"))
                self.assertGreaterEqual(submitted["published"], 3)
                # A second committer sees the end, and two are safe.
                done = self.role("commit", "commit", f"--lake={LAKE}", f"--until-complete={submitted['submission']}")
                self.assertIn('"pending":0', done)
                self.check_metrics(submitted["published"])
        rows = self.role("reader", "query", f"--lake={LAKE}", "--format=csv",
                         "SELECT count(*) FROM readings WHERE status IN ('scored', 'excluded')")
        self.assertEqual(rows.split()[-1], str(submitted["published"]))
        self.refused_by_the_store()
        self.refused_by_the_broker()

    def check_metrics(self, jobs):
        """What alarms rest on is there once a study has gone through."""
        # A record may be committed before its job is acknowledged.
        give_up = time.monotonic() + 30
        while self.metrics("worker")["aortica_jobs_total"]["acknowledged"] != jobs:
            self.assertLess(time.monotonic(), give_up)
            time.sleep(0.1)
        worker, committer = self.metrics("worker"), self.metrics("commit")
        self.assertEqual(worker["aortica_step_seconds_count"]["publish"], jobs)
        lanes = set(re.findall(r'=> "([\w.]+)"', source("crates/pipeline/src/queue/topology.rs")))
        self.assertEqual(set(committer["aortica_lane_depth"]), lanes)
        self.assertEqual(committer["aortica_lane_depth"]["jobs.dead"], 0)

    def metrics(self, role):
        """Series with one label: name -> label's value -> number."""
        (address,) = re.findall(r"health and metrics on (http://\S+)", (self.folder / f"{role}.log").read_text())
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        found = {}
        with direct.open(f"{address}/metrics", timeout=30) as answer:
            for series, value, number_ in re.findall(r'^(\w+)\{\w+="([^"]*)"\} (\S+)$', answer.read().decode(), re.MULTILINE):
                found.setdefault(series, {})[value] = float(number_)
        return found

    def refused_by_the_store(self):
        keys = {"images": "a/x", "tables": "study/results/_delta_log/00000000000000000000.json",
                "items": "study/items/x/part-00000.parquet", "artifacts": "study/artifacts/x", "conflicts": "study/conflicts/x",
                "elsewhere": "other/x"}
        # Everything that is not named here is refused.
        allowed = {
            ("submit", "GET"): {"images", "tables", "items"}, ("submit", "PUT"): {"items"}, ("submit", "DELETE"): {"items"},
            ("worker", "GET"): {"images", "tables", "artifacts"}, ("worker", "PUT"): {"artifacts"}, ("worker", "DELETE"): set(),
            ("commit", "GET"): {"tables", "items", "artifacts"}, ("commit", "PUT"): {"conflicts", "artifacts"}, ("commit", "DELETE"): set(),
            ("reader", "GET"): {"tables", "artifacts"}, ("reader", "PUT"): set(), ("reader", "DELETE"): set(),
        }
        for (role, method), places in allowed.items():
            for place, key in keys.items():
                if (role, place) == ("commit", "tables") and method != "GET":
                    continue  # it may, and the table is still needed
                with self.subTest(role=role, method=method, place=place):
                    bucket = "aortica-images" if place == "images" else "aortica-lake"
                    # There must be something, or "not found" hides that it is refused.
                    if place != "tables":
                        self.assertEqual(self.status("owner", "PUT", bucket, key), 200)
                    self.assertIn(self.status(role, method, bucket, key), [200, 204] if place in places else [403])

        # The request that deletes many at once is allowed to who may delete anything; each key is judged all the same.
        table = keys["tables"]
        many = f"<Delete><Object><Key>{table}</Key></Object></Delete>".encode()
        status, answer = self.ask("submit", "POST", "aortica-lake", "", many, "delete")
        self.assertIn("AccessDenied", answer.decode(), status)
        self.assertEqual(self.status("commit", "GET", "aortica-lake", table), 200)

    def refused_by_the_broker(self):
        refused = "check user, password and permissions"
        # Dead letters are the committer's.
        self.assertIn(refused, self.role("commit", "commit", f"--lake={LAKE}", broker_user="worker", code=3))
        # A user that may look may not work.
        self.assertIn(refused, self.role("worker", "worker", f"--lake={LAKE}", "--threads=1", broker_user="monitor", code=3))
        # Another installation's queues on the same broker.
        other = self.folder / "other.toml"
        other.write_text('[queue]\nname = "other"\n')
        done = subprocess.run([AORTICA, "commit", f"--lake={LAKE}", f"--settings={other}"], cwd=TOP, capture_output=True,
                              text=True, env=self.environment("commit"), timeout=120)
        self.assertEqual(done.returncode, 3)
        self.assertIn(refused, done.stderr)


if __name__ == "__main__":
    unittest.main()
