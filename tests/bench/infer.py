"""`make bench-infer`: the stage service against the bare networks and against two real servers.

What is counted, and how:
- Goodput against the ceiling: answers a second of `aortica infer` under load by a light client (crates/inference/examples/load.rs, 8
  connections, one row a request) over what the same network gives alone on the same cores in the fastest way of a small search
  (crates/inference/examples/ceiling.rs). The client computes on the same cores: what it takes is part of what is missing.
- Added latency: what one caller waits for the identity model, whose own computation is a copy of 131,072 bytes; 3,000 calls.
- Peers: MLServer with a model class that calls ONNX Runtime, and PyTriton, which is a real Triton 2.51 whose model is a Python
  function that calls ONNX Runtime (so its ONNX call sits in Python). Each is run with as many single-threaded workers as cores and
  with one worker of as many threads; the better of the two counts, for each model and number of clients. The same files, the
  same library version, the same unmodified tritonclient (gRPC, asyncio) on the same cores, 1, 8 and 32 clients.
- Memory: resident set of the server and of its children after the load.
"""

import argparse
import datetime
import json
import os
import platform
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests/peers/inference"
CLIENTS = [1, 8, 32]
# name, file (with the form of the network), input, shape of a row, the output that repeats the input
IDENTITY = ("identity", ROOT / "crates/inference/tests/models/identity.onnx", "image", "1,512,256", "copy")


def models(precision):
    form = "" if precision == "fp32" else f".{precision}"
    shipped = lambda name: ROOT / f"pipelines/vfa-unet/{name}{form}.onnx"
    return [IDENTITY, ("locate", shipped("locate"), "image", "1,512,256", None), ("segment", shipped("segment"), "region", "1,256,128", None)]


LIMITS = {
    "goodput_of_ceiling_min": 0.95,
    "goodput_of_better_peer_min": 1.0,
    "identity_of_better_peer_min": 1.5,
    "median_added_ms_max": 1.0,
    "p99_added_ms_max": 3.0,
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", type=Path, required=True)
    parser.add_argument("--ceiling", type=Path, required=True)
    parser.add_argument("--load", type=Path, required=True)
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--mlserver", type=Path, required=True, help="python with mlserver and tritonclient")
    parser.add_argument("--pytriton", type=Path, help="python with nvidia-pytriton; without it that peer is left out, and said so")
    parser.add_argument("--precision", default="int8", choices=["fp32", "fp16", "int8"], help="form of the shipped networks, for all")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
    parser.add_argument("--work", type=Path, default=ROOT / ".cache/bench-infer")
    parser.add_argument("--record", type=Path, default=ROOT / "tests/bench/infer.json")
    options = parser.parse_args()
    options.models = models(options.precision)
    return options


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def text_of(command, **named):
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, **named)
    if ran.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {ran.returncode}:\n{ran.stderr[-2000:]}{ran.stdout[-500:]}")
    return ran.stdout


def resident_mib(pid):
    """Of a process and of all that it started."""
    total, waiting = 0.0, [pid]
    while waiting:
        pid = waiting.pop()
        try:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    total += int(line.split()[1]) / 1024
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return round(total, 1)


@contextmanager
def serving(command, grpc, log, patience=120):
    """A server that answers on `grpc`; stopped at the end."""
    with open(log, "w") as out:
        server = subprocess.Popen([str(word) for word in command], stdout=out, stderr=out, start_new_session=True)
    try:
        end = time.monotonic() + patience
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", grpc)) == 0:
                    break
            if server.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"a server did not start:\n{Path(log).read_text()[-2000:]}")
            time.sleep(0.2)
        yield server.pid
    finally:
        os.killpg(server.pid, 15)
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)


def loads(options, grpc, pid):
    """Every model under every number of clients, by tritonclient."""
    results = {}
    for name, _, tensor, shape, copy in options.models:
        for clients in CLIENTS:
            command = [options.mlserver, PEERS / "load.py", "--grpc", f"127.0.0.1:{grpc}", "--model", name, "--input", tensor]
            command += ["--shape", shape, "--clients", clients, "--seconds", options.seconds]
            command += ["--copy", copy] if copy else []
            for _ in range(60):
                # a server that listens may still load its models
                ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
                if ran.returncode == 0:
                    break
                time.sleep(1)
            else:
                raise SystemExit(f"no load on {name}:\n{ran.stderr[-2000:]}")
            results[f"{name}/{clients}"] = json.loads(ran.stdout)
    results["resident_mib"] = resident_mib(pid)
    return results


def aortica(options, work):
    folders = [ROOT / "pipelines/vfa-unet", ROOT / "crates/inference/tests/models"]
    grpc, http = free_port(), free_port()
    command = [options.aortica, "infer", *folders, "--model", "identity,locate,segment", "--threads", options.cores]
    # int8 is what a CPU takes without a word; the identity model has one form only.
    command += [] if options.precision == "int8" else ["--precision", options.precision]
    command += ["--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}"]
    with serving(command, grpc, work / "aortica.log") as pid:
        by_triton = loads(options, grpc, pid)
        light = {}
        for name, _, tensor, shape, _ in options.models:
            load = [options.load, "latency", "--grpc", f"http://127.0.0.1:{grpc}", "--model", name, "--input", tensor, "--shape", shape]
            alone = json.loads(text_of([*load, "--requests", 3000 if name == "identity" else 300]))
            full = json.loads(text_of([*load, "--requests", 10000 if name == "identity" else 1500, "--clients", 8]))
            light[name] = {"alone": alone, "saturated": full}
        return {"tritonclient": by_triton, "light": light}


def peer(options, work, name, python, workers, threads):
    grpc, http = free_port(), free_port()
    command = [python, PEERS / name / "serve.py", "--grpc-port", grpc, "--http-port", http]
    command += ["--workers", workers, "--threads", threads]
    command += ["--folder", work / "mlserver"] if name == "mlserver" else []
    command += [f"{model}={path}" for model, path, *_ in options.models]
    with serving(command, grpc, work / f"{name}-{workers}.log") as pid:
        return loads(options, grpc, pid)


def ceilings(options):
    found = {}
    paths = [path for _, path, *_ in options.models[1:]]
    base = ["--runtime", options.runtime, "--seconds", 1.5]
    for line in text_of([options.ceiling, "search", *base, "--cores", options.cores, *paths]).splitlines():
        model, runners, threads, spin, batch, per_s, _ = line.split("\t")
        name = Path(model).name.split(".")[0]
        if float(per_s) > found.get(name, {}).get("per_s", 0.0):
            found[name] = {"per_s": float(per_s), "way": f"{runners},{threads},{spin},{batch}"}
    return found


def measured_ceiling(options, found):
    """Once more in the way that was found, close in time to the service."""
    result = {}
    for name, path, *_ in options.models[1:]:
        line = text_of([options.ceiling, "measure", "--runtime", options.runtime, "--seconds", 6, path, found[name]["way"]])
        result[name] = float(line.split("\t")[5])
    return result


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    found = ceilings(options)
    before = measured_ceiling(options, found)
    own = aortica(options, options.work)
    after = measured_ceiling(options, found)
    peers = {"mlserver": options.mlserver} | ({"pytriton": options.pytriton} if options.pytriton else {})
    ways = {}
    for name, python in peers.items():
        # workers of its own, or everything in one; MLServer calls the latter 0
        for workers, threads in ((options.cores, 1), (0 if name == "mlserver" else 1, options.cores)):
            ways[f"{name}, {workers} workers of {threads} threads"] = peer(options, options.work, name, python, workers, threads)

    table, worst = {}, {}
    for name, *_ in options.models:
        for clients in CLIENTS:
            key = f"{name}/{clients}"
            ours = own["tritonclient"][key]
            best = max(ways, key=lambda way: ways[way][key]["per_s"])
            ratio = ours["per_s"] / ways[best][key]["per_s"]
            table[key] = {"aortica": ours, "better_peer": best, "peer": ways[best][key], "ratio": round(ratio, 3)}
            worst[name] = min(worst.get(name, 1e9), ratio)
    of_ceiling = {
        name: own["light"][name]["saturated"]["requests_per_s"] / (0.5 * (before[name] + after[name])) for name in before
    }
    alone = own["light"]["identity"]["alone"]
    summary = {
        "goodput_of_ceiling": {name: round(value, 3) for name, value in of_ceiling.items()},
        "goodput_of_better_peer": {name: round(worst[name], 3) for name in before},
        "identity_of_better_peer": round(worst["identity"], 3),
        "added_ms": {"median": alone["median_ms"], "p99": alone["p99_ms"]},
        "p99_worse_than_peer": [key for key, row in table.items() if row["aortica"]["p99_ms"] > row["peer"]["p99_ms"]],
        "resident_mib": {"aortica": own["tritonclient"]["resident_mib"]} | {way: ways[way]["resident_mib"] for way in ways},
    }
    version = text_of([options.aortica, "--version"]).splitlines()
    facts = {
        "date": datetime.date.today().isoformat(), "cpu": platform.processor() or platform.machine(), "cores": options.cores,
        "build": [line.strip() for line in version[1:4]], "runtime": options.runtime.resolve().name,
        "peers": list(peers), "precision": options.precision, "seconds": options.seconds,
    }
    record = {
        "facts": facts, "limits": LIMITS, "summary": summary, "ceiling": {"search": found, "before": before, "after": after},
        "light_client": own["light"], "by_clients": table,
    }
    options.record.write_text(json.dumps(record, indent=1) + "\n")
    print_report(summary, table, before, after, own)


def print_report(summary, table, before, after, own):
    print(f"{'model':<10}{'clients':>8}{'aortica/s':>12}{'p99 ms':>9}{'peer/s':>10}{'p99 ms':>9}{'ratio':>8}  better peer")
    for key, row in table.items():
        name, clients = key.split("/")
        ours, peer = row["aortica"], row["peer"]
        print(
            f"{name:<10}{clients:>8}{ours['per_s']:>12.1f}{ours['p99_ms']:>9.1f}{peer['per_s']:>10.1f}{peer['p99_ms']:>9.1f}"
            f"{row['ratio']:>8.2f}  {row['better_peer']}"
        )
    for name, value in summary["goodput_of_ceiling"].items():
        saturated = own["light"][name]["saturated"]["requests_per_s"]
        print(f"{name}: {saturated:.1f}/s served, {before[name]:.1f} and {after[name]:.1f}/s bare: ratio {value} (limit {LIMITS['goodput_of_ceiling_min']})")
    added = summary["added_ms"]
    print(f"one caller, identity: median {added['median']:.3f} ms, p99 {added['p99']:.3f} ms (limits 1 and 3)")
    print("resident MiB: " + ", ".join(f"{name} {mib}" for name, mib in summary["resident_mib"].items()))
    if summary["p99_worse_than_peer"]:
        print("p99 worse than the better peer's: " + ", ".join(summary["p99_worse_than_peer"]))


if __name__ == "__main__":
    sys.exit(main())
