"""Real roles on loopback, for what only a running program can tell: health paths and metric names."""

import contextlib
import json
import os
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from k8s import AORTICA, TOP

WAIT_S = 60


@contextlib.contextmanager
def running(arguments, stream, pattern, **environment):
    """Runs a role until the block ends; gives what the first line that matches `pattern` says."""
    process = subprocess.Popen(
        [AORTICA, *arguments], cwd=TOP, env={**os.environ, **environment}, text=True,
        stdout=subprocess.PIPE if stream == "stdout" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if stream == "stderr" else subprocess.DEVNULL,
    )
    timer = threading.Timer(WAIT_S, process.kill)
    timer.start()
    try:
        found = None
        for line in getattr(process, stream):
            if found := re.search(pattern, line):
                break
        assert found, f"aortica {' '.join(arguments)} said nothing like {pattern}"
        yield found.group(1)
    finally:
        timer.cancel()
        process.kill()
        process.communicate()


@contextlib.contextmanager
def stage(certificates):
    """A stage service with TLS; gives a function that fetches a path as the host `locate`."""
    arguments = ["infer", "pipelines/vfa-unet", "--model=locate", "--grpc=127.0.0.1:0", "--http=127.0.0.1:0", "--threads=1",
                 f"--tls-certificate={certificates}/tls.crt", f"--tls-key={certificates}/tls.key"]
    token = str(certificates / "token")
    with running(arguments, "stdout", r"(\{.*\})", AORTICA_STAGE_TOKEN_FILE=token) as line:
        port = int(json.loads(line)["http"].rsplit(":", 1)[1])
        trust = ssl.create_default_context(cafile=certificates / "ca.crt")

        def fetch(path):
            """Status and body, over a connection whose certificate is checked for the service's name."""
            with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
                with trust.wrap_socket(plain, server_hostname="locate") as secure:
                    secure.sendall(f"GET {path} HTTP/1.0\r\nHost: locate\r\n\r\n".encode())
                    answer = secure.makefile("rb").read().decode()
            head, _, body = answer.partition("\r\n\r\n")
            return int(head.split()[1]), body

        # The sockets open first, then the model is loaded.
        give_up = time.monotonic() + WAIT_S
        while fetch("/v2/health/ready")[0] != 200:
            assert time.monotonic() < give_up, "the stage service does not become ready"
            time.sleep(0.05)
        yield fetch


@contextlib.contextmanager
def committer():
    """A committer whose broker does not answer: it is alive, not ready, and tells its metrics."""
    with socket.socket() as closed, tempfile.TemporaryDirectory() as folder:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes the port, and it refuses
        url = f"amqp://user:password@127.0.0.1:{closed.getsockname()[1]}/%2f"
        arguments = ["commit", f"--lake={folder}/lake", "--http=127.0.0.1:0"]
        with running(arguments, "stderr", r"health and metrics on (http://\S+)", AORTICA_AMQP_URL=url) as address:
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

            def fetch(path):
                try:
                    with direct.open(address + path, timeout=30) as answer:
                        return answer.status, answer.read().decode()
                except urllib.error.HTTPError as error:
                    return error.code, error.read().decode()

            yield fetch
