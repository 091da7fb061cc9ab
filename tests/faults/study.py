"""Real servers and real roles for the fault tests: RabbitMQ and Ceph RGW on loopback, a study of its own for each test, roles that
are started, killed, watched, and started again as Kubernetes does. Standard library only."""

import atexit
import contextlib
import csv
import functools
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from proxy import Proxy

TOP = pathlib.Path(__file__).resolve().parents[2]
AORTICA = str(TOP / os.environ.get("AORTICA", "target/debug/aortica"))
SERVICES = TOP / "tests/services"
sys.path.insert(0, str(SERVICES))
from s3_put import send  # noqa: E402

LOOK_EVERY_S = 0.2
# Nothing takes longer on a healthy machine; on a busy one nothing rests on it.
PATIENCE_S = 240
# Whoever restarts a role waits a little, so that one that cannot start does not use up the machine.
RESTART_AFTER_S = 0.5
# Something outside failed: the role is started again. Any other end is a finding.
OUTSIDE = 4
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Servers:
    """One broker and one store, started once and shared; `store` is `memstore` or, to outlive a kill, `bluestore`."""

    def __init__(self, store="memstore"):
        # Short, because Ceph's sockets lie in it.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="aortica-"))
        self.studies = []
        # A request to end lets everything be stopped, as Ctrl-C does.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        environment = {**os.environ, "S3_STORE": store}
        commands = [[SERVICES / "rabbitmq.sh", "start", self.folder / "mq"],
                    [SERVICES / "s3.sh", "start", self.folder / "s3", "images", "lake"]]
        try:
            # One after the other: each installs its packages where they are missing, and apt serves one at a time.
            for packages in ("rabbitmq-server", "radosgw ceph-mon ceph-osd ceph-mgr ceph-common"):
                need = f". {SERVICES}/lib.sh; need {packages.split()[0]} {packages}"
                subprocess.run(["bash", "-c", need], check=True)
            # Both at once: each waits most of the time.
            starting = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for command in commands]
            printed = [each.communicate()[0] for each in starting]
            if any(each.returncode for each in starting):
                raise OSError("RabbitMQ or Ceph RGW did not start, see above")
        except (OSError, subprocess.CalledProcessError):
            self.stop()
            raise
        self.amqp = urllib.parse.urlparse(printed[0].strip())
        self.keys = dict(pair.split("=", 1) for pair in printed[1].replace("export ", "").split())
        self.endpoint = urllib.parse.urlparse(self.keys["AWS_ENDPOINT"])

    def stop(self):
        for study in self.studies:
            study.stop()
        for script, name in (("rabbitmq.sh", "mq"), ("s3.sh", "s3")):
            subprocess.run([SERVICES / script, "stop", self.folder / name], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def service(self, script, command):
        """`kill` or `again` of a server, as a process to be awaited."""
        name = {"rabbitmq.sh": "mq", "s3.sh": "s3"}[script]
        return subprocess.Popen([SERVICES / script, command, self.folder / name])

    def make_user(self, name):
        """A user of the store who may do what bucket policies say; its environment."""
        command = ["radosgw-admin", "-c", self.folder / "s3/ceph.conf", "-n", "client.rgw", "user", "create", f"--uid={name}",
                   f"--display-name={name}", f"--access-key={name}", f"--secret={name}-secret"]
        subprocess.run(command, check=True, capture_output=True)
        return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": f"{name}-secret"}

    def ask(self, method, path, body=b"", query="", within_s=60):
        """One signed request to the store: status and body."""
        saved = dict(os.environ)
        os.environ.update(self.keys)
        try:
            with contextlib.closing(http.client.HTTPConnection(self.endpoint.netloc, timeout=within_s)) as connection:
                return send(connection, self.endpoint.netloc, method, path, body, query)
        finally:
            os.environ.clear()
            os.environ.update(saved)

    def put_folder(self, folder, bucket, prefix):
        command = [sys.executable, SERVICES / "s3_put.py", "folder", folder, bucket, prefix]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **self.keys})

    def set_policy(self, bucket, statements):
        status, answer = self.ask("PUT", f"/{bucket}", json.dumps({"Version": "2012-10-17", "Statement": statements}).encode(), "policy")
        assert status in (200, 204), (status, answer)


class Study:
    """One study on the servers: a lake, queues and settings of its own, the roles that work on it, and a proxy before each server."""

    def __init__(self, servers, name, settings="", seed=0):
        self.servers, self.name, self.roles = servers, name, []
        servers.studies.append(self)
        self.folder = servers.folder / name
        self.folder.mkdir()
        self.lake = f"s3://lake/{name}"
        self.broker = Proxy(f"{servers.amqp.hostname}:{servers.amqp.port}", seed)
        self.store = Proxy(servers.endpoint.netloc, seed + 1)
        self.stages = {model: Proxy("127.0.0.1:9", seed + 2 + n) for n, model in enumerate(("locate", "segment"))}
        tables = {"study": f'key_file = "{servers.folder}/study.key"\n', "queue": f'name = "{name}"\n', "run": ""}
        for table, text in re.findall(r"\[([\w.]+)\]([^\[]*)", settings):
            tables[table] = tables.get(table, "") + text.lstrip()
        (self.folder / "settings.toml").write_text("".join(f"[{table}]\n{text}" for table, text in tables.items()))

    def environment(self, by_proxy=True, **more):
        environment = {**os.environ, **self.servers.keys, "NO_COLOR": "1"}
        amqp = self.servers.amqp
        broker = self.broker.address if by_proxy else f"{amqp.hostname}:{amqp.port}"
        environment["AORTICA_AMQP_URL"] = f"amqp://{amqp.username}:{amqp.password}@{broker}{amqp.path}"
        if by_proxy:
            environment["AWS_ENDPOINT"] = f"http://{self.store.address}"
        return {**environment, **more}

    def command(self, *arguments):
        return [AORTICA, *map(str, arguments), f"--settings={self.folder}/settings.toml"]

    def run(self, *arguments, code=0, by_proxy=False, **environment):
        """Runs to the end: stdout, or stderr where another exit code than 0 is expected."""
        done = subprocess.run(self.command(*arguments), cwd=TOP, capture_output=True, text=True, timeout=PATIENCE_S * 3,
                              env=self.environment(by_proxy, **environment))
        assert done.returncode == code, f"aortica {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if code else done.stdout

    def role(self, name, *arguments, **environment):
        role = Role(self, name, arguments, environment)
        self.roles.append(role)
        role.start()
        return role

    def stage(self, model):
        """A stage service for one network, behind its proxy."""
        arguments = ["infer", "pipelines/vfa-unet", f"--model={model}", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0", "--threads=1"]
        return self.role(model, *arguments)

    def worker(self, name="worker", lake=None, **environment):
        urls = ",".join(f"{model}=http://{proxy.address}" for model, proxy in self.stages.items())
        return self.role(name, "worker", f"--lake={lake or self.lake}", f"--stages={urls}", "--threads=1", "--http=127.0.0.1:0", **environment)

    def committer(self, name="commit", lake=None, **environment):
        return self.role(name, "commit", f"--lake={lake or self.lake}", "--http=127.0.0.1:0", **environment)

    def submit(self, source, lake=None):
        return json.loads(self.run("submit", source, f"--lake={lake or self.lake}", "--json"))

    def status(self, lake=None):
        """`None` while the store is away."""
        done = subprocess.run(self.command("status", f"--lake={lake or self.lake}", "--json"), cwd=TOP, capture_output=True, text=True,
                              timeout=PATIENCE_S, env=self.environment(by_proxy=False))
        return json.loads(done.stdout) if done.returncode == 0 else None

    def progress(self, lake=None):
        """Items, and those that have their row, of all submissions; `None` while the store is away."""
        status = self.status(lake)
        if status is None:
            return None
        items = sum(s["items"] for s in status["submissions"])
        return items, items - sum(s["pending"] for s in status["submissions"])

    def is_complete(self, lake=None):
        told = self.progress(lake)
        return told is not None and told[0] == told[1]

    def table(self, lake=None):
        """Every column of `readings` that does not tell when and by which submission it was made, one line a row."""
        columns = [row["column"] for row in csv.DictReader(io.StringIO(self.run("codebook", "--format", "csv")))]
        columns = [name for name in columns if name not in ("scored_at", "attempt", "submission_id")]
        sql = f"SELECT {', '.join(columns)} FROM readings ORDER BY item_id"
        return self.run("query", f"--lake={lake or self.lake}", "--format", "csv", sql).splitlines()[1:]

    def rows_in_files(self, table):
        """Rows in the files of a table, by its log and not by our reader: those of `add` less those of `remove`, as writers counted."""
        rows, version = {}, 0
        while True:
            status, body = self.servers.ask("GET", f"/lake/{self.name}/{table}/_delta_log/{version:020}.json")
            if status == 404:
                assert version > 0, f"no log of {table}"
                return sum(rows.values())
            assert status == 200, (status, body)
            for line in body.decode().splitlines():
                action = json.loads(line)
                if "add" in action:
                    rows[action["add"]["path"]] = json.loads(action["add"]["stats"])["numRecords"]
                elif "remove" in action:
                    rows.pop(action["remove"]["path"])
            version += 1

    def tend(self):
        """Starts again what has ended because of something outside, as its supervisor would."""
        for role in self.roles:
            role.tend()

    def until(self, what, condition, tended=True, patience_s=PATIENCE_S):
        """Waits for a condition, and returns what it gave."""
        give_up = time.monotonic() + patience_s
        while not (found := condition()):
            if tended:
                self.tend()
            assert time.monotonic() < give_up, f"never came: {what}\n{self.logs()}"
            time.sleep(LOOK_EVERY_S)
        return found

    def logs(self):
        return "\n".join(f"--- {role.name}\n{role.said()[-1500:]}" for role in self.roles)

    def stop(self):
        """All roles, at once; a clean end is no part of what is asked here."""
        for role in self.roles:
            role.kill()


class Role:
    """A role of the program that runs in the background: its log, its metrics, its ends."""

    def __init__(self, study, name, arguments, environment):
        self.study, self.name, self.arguments, self.environment = study, name, arguments, environment
        self.process, self.address, self.ended_at, self.wanted = None, None, None, True
        self.log = study.folder / f"{name}.log"
        # Exit codes of ends of its own, and what its processes had counted when last asked.
        self.exits, self.seen, self.counted, self.killed = [], {}, {}, 0

    def start(self):
        self.wanted, self.address, self.ended_at = True, None, None
        self.began = self.log.stat().st_size if self.log.exists() else 0
        self.out = self.study.folder / f"{self.name}.out"
        with self.log.open("ab") as log, self.out.open("wb") as out:
            self.process = subprocess.Popen(self.study.command(*self.arguments), cwd=TOP, stdout=out, stderr=log,
                                            env=self.study.environment(**self.environment))
        if self.name in self.study.stages:
            self.study.until(f"address of {self.name}", lambda: self.out.read_text().endswith("\n"), tended=False)
            self.study.stages[self.name].server = json.loads(self.out.read_text().splitlines()[0])["grpc"]

    def said(self, all_of_it=True):
        """Its log, or that of the process that runs now."""
        return self.log.read_bytes()[0 if all_of_it else self.began:].decode(errors="replace")

    def says(self, text):
        """Waits until it has said something."""
        self.study.until(f"{self.name} says {text!r}", lambda: text in self.said(), tended=False)

    def fetch(self, path):
        """Status and body of its health and metrics; `None` where it does not answer."""
        if self.address is None:
            told = re.search(r"health and metrics on (http://\S+)", self.said(all_of_it=False))
            if told is None:
                return None
            self.address = told[1]
        try:
            with DIRECT.open(self.address + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return None

    def metrics(self):
        """`name{labels}` -> value of the process that runs now; what was known last where it does not answer."""
        answer = self.fetch("/metrics")
        if answer is not None:
            self.seen = {name: float(value) for name, value in re.findall(r"^(aortica_\S+) (\S+)$", answer[1], re.MULTILINE)}
        return self.seen

    def metric(self, name):
        return self.metrics().get(name, 0)

    def total(self, name):
        """Of all its processes, as far as they were asked in time: a kill takes with it what was counted since."""
        return self.counted.get(name, 0) + self.seen.get(name, 0)

    def _ended(self):
        for name, value in self.seen.items():
            self.counted[name] = self.counted.get(name, 0) + value
        self.seen, self.ended_at = {}, time.monotonic()

    def tend(self):
        if not self.wanted:
            return
        if self.process.poll() is None:
            if self.name not in self.study.stages:
                self.metrics()
        elif self.ended_at is None:
            self.exits.append(self.process.returncode)
            self._ended()
            assert self.process.returncode == OUTSIDE, f"{self.name} ended with {self.process.returncode}\n{self.said()[-3000:]}"
        elif time.monotonic() > self.ended_at + RESTART_AFTER_S:
            self.start()

    def kill(self):
        """SIGKILL. Whether it was running."""
        running = self.process.poll() is None
        if running:
            self.process.kill()
            self.process.wait()
            self.killed += 1
            self._ended()
        self.wanted = False
        return running

    def signal(self, number):
        self.process.send_signal(number)

    def end(self):
        """SIGTERM; its exit code."""
        self.wanted = False
        self.signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_S)
        self._ended()
        return code


@functools.cache
def shared_servers():
    """The servers of all tests of this process; a skip where they cannot be had and CI does not ask for them."""
    try:
        servers = Servers()
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI") == "true":
            raise
        raise unittest.SkipTest(f"RabbitMQ or Ceph RGW cannot be had here; CI requires them: {error}") from error
    atexit.register(servers.stop)
    return servers


def simulate(folder, images, seed):
    """Films of bone densitometers, small enough to be many; a few are no lateral spines."""
    command = [AORTICA, "phantom", f"--participants={images}", f"--seed={seed}", f"--out={folder}", f"--config={TOP}/tests/faults/phantom.toml"]
    subprocess.run(command, check=True, cwd=TOP, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@functools.cache
def small_cohort(prefix, images=4, seed=77):
    """A few images in the bucket: their address, and how many."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(folder, images, seed)
        files = len(list(pathlib.Path(folder, "images").iterdir()))
        shared_servers().put_folder(f"{folder}/images", "images", prefix)
    return f"s3://images/{prefix}/", files
