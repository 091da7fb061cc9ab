"""A million requests on one stage service: none lost, none mixed up, and nothing left behind in its memory.

    python3 tests/prove/soak.py --aortica target/release/aortica --load target/debug/examples/load --record tests/prove/soak.json

Starts `aortica infer` with the identity model on loopback and loads it by `crates/inference/examples/load.rs`, which checks
every answer against its own request. Writes the record; ends with 1 when an answer was lost or the memory grows.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

# Growth that is none: resident memory is counted in pages, and 10^9 requests would still fit into a gigabyte.
SLOPE_MAX = 1.0


def facts(aortica):
    version = subprocess.run([aortica, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")
    return {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "build": [line.strip() for line in version[1:4]]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--record")
    options = parser.parse_args()
    models = Path(__file__).resolve().parents[2] / "crates/inference/tests/models"
    command = [options.aortica, "infer", models, "--model", "identity", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    server = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    try:
        addresses = json.loads(server.stdout.readline())
        while True:
            try:
                urllib.request.urlopen(f"http://{addresses['http']}/v2/health/ready", timeout=5).close()
                break
            except urllib.error.HTTPError:
                if server.poll() is not None:
                    raise SystemExit("the service ended while it loaded its model")
        load = [options.load, "soak", "--grpc", f"http://{addresses['grpc']}", "--requests", options.requests]
        load += ["--clients", options.clients, "--pid", server.pid]
        ran = subprocess.run([str(word) for word in load], stdout=subprocess.PIPE, text=True)
    finally:
        server.terminate()
    ended = server.wait(timeout=60)
    report = json.loads(ran.stdout or "{}")
    slope = report.get("memory", {}).get("slope_bytes_per_request")
    held = ran.returncode == 0 and ended == 0 and slope is not None and slope <= SLOPE_MAX
    record = {"facts": facts(options.aortica), "held": held, "exit_of_service": ended, **report}
    text = json.dumps(record, indent=1)
    print(text)
    if options.record:
        Path(options.record).write_text(text + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
