"""Runs a program and tells what it took: wall time, CPU seconds, peak memory, and CPU seconds of each kind of thread."""

import os
import re
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_S = 0.2


@dataclass
class Run:
    wall_s: float
    cpu_s: float  # user and system, of the process and of its children that it waited for
    peak_mib: float  # largest resident set (of the largest process)
    stdout: str
    threads_cpu_s: dict = field(default_factory=dict)  # by thread name without number; the last SAMPLE_S may be missing


class Threads:
    """CPU seconds of the threads of a process, looked up while it lives."""

    def __init__(self, pid):
        self.folder = Path(f"/proc/{pid}/task")
        self.names, self.seconds = {}, {}

    def sample(self):
        try:
            ids = os.listdir(self.folder)
        except OSError:
            return
        for tid in ids:
            try:
                spent = int((self.folder / tid / "schedstat").read_text().split()[0]) / 1e9
                # A thread gets its name a moment after it is born.
                if self.seconds.get(tid, 0.0) < 1.0:
                    self.names[tid] = (self.folder / tid / "comm").read_text().strip()
            except (OSError, IndexError):
                continue
            self.seconds[tid] = spent

    def by_name(self):
        total = defaultdict(float)
        for tid, seconds in self.seconds.items():
            total[re.sub(r"[-_ ]*\d+$", "", self.names[tid])] += seconds
        return dict(total)


def run(command, log, environment=None):
    """Runs `command` to its end; its stderr goes to the file `log`. Raises when it fails."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile("w+") as out, open(log, "w") as errors:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=errors, env={**os.environ, **(environment or {})})
        threads, ended = Threads(child.pid), threading.Event()

        def watch():
            while not ended.wait(SAMPLE_S):
                threads.sample()

        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        ended.set()
        watcher.join()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if child.returncode != 0:
        last = "".join(open(log).readlines()[-15:])
        raise SystemExit(f"{' '.join(command)}\nended with {child.returncode}:\n{last}{text[-500:]}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text, threads.by_name())
