"""`make bench-infer`: the stage service against the bare networks and against two real servers.

What is counted, and how:
- Everything that is compared is measured in turns, round after round, so that a machine that is faster at one time than at another is so
  for all; a number is the median of its rounds, a ratio the median of the ratios of the rounds, with the lowest and the highest.
- Goodput against the ceiling: answers a second of `aortica infer` under load by a light client (crates/inference/examples/load.rs, 8
  connections, one row a request) over what the same network gives alone on the same cores in the fastest way of a small search
  (crates/inference/examples/ceiling.rs). Told in two ways: with the client on a core of its own (the last; the service and the bare
  network have the others), and with all three on all cores, where what the client takes is part of what is missing.
- Added latency: what one caller waits for the identity model, whose own computation is a copy of 131,072 bytes; 3,000 calls.
- Peers: MLServer with a model class that calls ONNX Runtime, and PyTriton, which is a real Triton 2.51 whose model is a Python
  function that calls ONNX Runtime (so its ONNX call sits in Python). Each is run with as many single-threaded workers as cores and
  with one worker of as many threads; the best of the four counts, for each model and number of clients. The same files, the
  same library version, the same unmodified tritonclient (gRPC, asyncio) on the same cores, 1, 8 and 32 clients. All servers are up
  during all loads; one is asked at a time, in another order in each round.
- Memory: resident set of the server and of its children after the load.
"""

import argparse
import datetime
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
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
    parser.add_argument("--seconds", type=float, default=2.0, help="of each load")
    parser.add_argument("--rounds", type=int, default=5)
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
def serving(command, grpc, log, patience=120, cores=None):
    """A server that answers on `grpc`; stopped at the end."""
    with open(log, "w") as out:
        command = [str(word) for word in command]
        server = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **held_to(cores))
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


def load(options, grpc, model, clients, patience=1):
    """One load by tritonclient. A server that listens may still load its models: `patience` tries."""
    name, _, tensor, shape, copy = model
    command = [options.mlserver, PEERS / "load.py", "--grpc", f"127.0.0.1:{grpc}", "--model", name, "--input", tensor]
    command += ["--shape", shape, "--clients", clients, "--seconds", options.seconds]
    command += ["--copy", copy] if copy else []
    for _ in range(patience):
        ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if ran.returncode == 0:
            return json.loads(ran.stdout)
        time.sleep(1)
    raise SystemExit(f"no load on {name}:\n{ran.stderr[-2000:]}")


def aortica(options, grpc, http, threads=None):
    folders = [ROOT / "pipelines/vfa-unet", ROOT / "crates/inference/tests/models"]
    command = [options.aortica, "infer", *folders, "--model", "identity,locate,segment", "--threads", threads or options.cores]
    # int8 is what a CPU takes without a word; the identity model has one form only.
    command += [] if options.precision == "int8" else ["--precision", options.precision]
    return command + ["--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}"]


def peer(options, name, python, workers, threads, grpc, http):
    command = [python, PEERS / name / "serve.py", "--grpc-port", grpc, "--http-port", http]
    command += ["--workers", workers, "--threads", threads]
    command += ["--folder", options.work / f"mlserver-{workers}"] if name == "mlserver" else []
    return command + [f"{model}={path}" for model, path, *_ in options.models]


def commands(options):
    """How each server is started, given its two ports: ours first."""
    found = {"aortica": lambda grpc, http: aortica(options, grpc, http)}
    peers = {"mlserver": options.mlserver} | ({"pytriton": options.pytriton} if options.pytriton else {})
    for name, python in peers.items():
        # workers of its own, or everything in one; MLServer calls the latter 0
        for workers, threads in ((options.cores, 1), (0 if name == "mlserver" else 1, options.cores)):
            found[f"{name}, {workers} workers of {threads} threads"] = (
                lambda grpc, http, given=(name, python, workers, threads): peer(options, *given, grpc, http)
            )
    return found


def held_to(cores):
    """What subprocess is told for a program that keeps to these cores."""
    return {"preexec_fn": lambda: os.sched_setaffinity(0, cores)} if cores else {}


def ceilings(options, cores):
    """The fastest way of each network on these cores."""
    found = {}
    paths = [path for _, path, *_ in options.models[1:]]
    base = ["--runtime", options.runtime, "--seconds", 1.5]
    for line in text_of([options.ceiling, "search", *base, "--cores", len(cores), *paths], **held_to(cores)).splitlines():
        model, runners, threads, spin, batch, per_s, _ = line.split("\t")
        name = Path(model).name.split(".")[0]
        if float(per_s) > found.get(name, {}).get("per_s", 0.0):
            found[name] = {"per_s": float(per_s), "way": f"{runners},{threads},{spin},{batch}"}
    return found


def bare(options, path, way, cores=None):
    command = [options.ceiling, "measure", "--runtime", options.runtime, "--seconds", options.seconds + 1, path, way]
    line = text_of(command, **held_to(cores))
    return float(line.split("\t")[5])


def spread(values):
    return {"median": round(statistics.median(values), 4), "lowest": round(min(values), 4), "highest": round(max(values), 4)}


def light_load(options, grpc, model, requests, clients, cores=None):
    name, _, tensor, shape, _ = model
    command = [options.load, "latency", "--grpc", f"http://127.0.0.1:{grpc}", "--model", name, "--input", tensor, "--shape", shape]
    return json.loads(text_of([*command, "--requests", requests, "--clients", clients], **held_to(cores)))


def against_ceiling(options, grpc, found, service_cores=None, client_cores=None):
    """Eight light callers in turns with the bare network: short turns, many of them, since a machine's speed may change within seconds."""
    seen = {}
    for model in options.models[1:]:
        name, path = model[:2]
        loop = lambda: bare(options, path, found[name]["way"], service_cores)
        requests = round(found[name]["per_s"] * (options.seconds + 1))
        around, answers = [loop()], []
        for _ in range(2 * options.rounds):
            answers.append(light_load(options, grpc, model, requests, 8, client_cores))
            around.append(loop())
        print(f"{name}: measured against the bare loop", file=sys.stderr)
        rates = [answer["requests_per_s"] for answer in answers]
        seen[name] = {
            "ratios": spread([2 * rate / (before + after) for rate, before, after in zip(rates, around, around[1:])]),
            "bare_per_s": spread(around),
            "served": answers[rates.index(statistics.median_low(rates))],
            "way": found[name]["way"],
        }
    return seen


def by_clients(options, ports):
    """Every model under every number of clients, by tritonclient, on every server in turn."""
    order, table = random.Random(1), {}
    for model in options.models:
        for clients in CLIENTS:
            seen = {way: [] for way in ports}
            for _ in range(options.rounds):
                ways = list(ports)
                order.shuffle(ways)
                for way in ways:
                    seen[way].append(load(options, ports[way], model, clients))
            of = lambda way, what: [one[what] for one in seen[way]]
            print(f"{model[0]}, {clients} clients: measured", file=sys.stderr)
            best = max((way for way in ports if way != "aortica"), key=lambda way: statistics.median(of(way, "per_s")))
            middle = lambda way: {what: round(statistics.median(of(way, what)), 3) for what in ("per_s", "median_ms", "p99_ms")}
            ratios = spread([ours / theirs for ours, theirs in zip(of("aortica", "per_s"), of(best, "per_s"))])
            p99 = spread([ours / theirs for ours, theirs in zip(of("aortica", "p99_ms"), of(best, "p99_ms"))])
            table[f"{model[0]}/{clients}"] = {
                "aortica": middle("aortica"), "better_peer": best, "peer": middle(best),
                "ratio": round(ratios["median"], 3), "ratios": ratios, "p99_ratios": p99,
            }
    return table


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    if len(cores) < 2:
        raise SystemExit("the client needs a core beside that of the service: two at least")
    os.sched_setaffinity(0, cores)
    identity = options.models[0]
    # The service and the bare networks on all cores but the last, which is the client's.
    theirs, clients = cores[:-1], cores[-1:]
    grpc = free_port()
    command = aortica(options, grpc, free_port(), threads=len(theirs))
    with serving(command, grpc, options.work / "aortica-apart.log", cores=theirs):
        load(options, grpc, identity, 1, patience=60)
        apart = against_ceiling(options, grpc, ceilings(options, theirs), theirs, clients)
    found = ceilings(options, cores)
    with ExitStack() as running:
        start = lambda way, command, grpc: running.enter_context(serving(command, grpc, options.work / f"{way.split(' workers')[0]}.log"))
        servers = commands(options)
        ports, pids = {}, {}
        ports["aortica"] = free_port()
        pids["aortica"] = start("aortica", servers["aortica"](ports["aortica"], free_port()), ports["aortica"])
        load(options, ports["aortica"], identity, 1, patience=60)
        light = {model[0]: {"alone": light_load(options, ports["aortica"], model, 3000 if model is identity else 300, 1)} for model in options.models}
        light["identity"]["saturated"] = light_load(options, ports["aortica"], identity, 10000, 8)
        together = against_ceiling(options, ports["aortica"], found)
        for name, seen in together.items():
            light[name]["saturated"] = seen["served"]
        for way, command in servers.items():
            if way != "aortica":
                ports[way] = free_port()
                pids[way] = start(way, command(ports[way], free_port()), ports[way])
        for way, grpc in ports.items():
            for model in options.models:
                load(options, grpc, model, 1, patience=60)
        table = by_clients(options, ports)
        resident = {way: resident_mib(pid) for way, pid in pids.items()}

    worst = lambda name: min(row["ratio"] for key, row in table.items() if key.startswith(f"{name}/"))
    alone = light["identity"]["alone"]
    summary = {
        "goodput_of_ceiling": {name: round(seen["ratios"]["median"], 3) for name, seen in apart.items()},
        "goodput_of_ceiling_with_client": {name: round(seen["ratios"]["median"], 3) for name, seen in together.items()},
        "goodput_of_better_peer": {name: worst(name) for name in together},
        "identity_of_better_peer": worst("identity"),
        "added_ms": {"median": alone["median_ms"], "p99": alone["p99_ms"]},
        "p99_worse_than_peer": [key for key, row in table.items() if row["p99_ratios"]["median"] > 1],
        "resident_mib": resident,
    }
    version = text_of([options.aortica, "--version"]).splitlines()
    facts = {
        "date": datetime.date.today().isoformat(), "cpu": platform.processor() or platform.machine(), "cores": options.cores,
        "build": [line.strip() for line in version[1:4]], "runtime": options.runtime.resolve().name,
        "peers": [way for way in servers if way != "aortica"], "precision": options.precision,
        "seconds": options.seconds, "rounds": options.rounds,
    }
    record = {
        "facts": facts, "limits": LIMITS, "summary": summary,
        "ceiling": {"client_apart": apart, "client_on_the_same_cores": together}, "light_client": light, "by_clients": table,
    }
    options.record.write_text(json.dumps(record, indent=1) + "\n")
    print_report(summary, table, record["ceiling"])


def print_report(summary, table, ceiling):
    range_of = lambda values: f"{values['lowest']:.2f}-{values['highest']:.2f}"
    print(f"{'model':<10}{'clients':>8}{'aortica/s':>12}{'p99 ms':>9}{'peer/s':>10}{'p99 ms':>9}{'ratio':>8}{'of rounds':>12}{'p99':>7}  better peer")
    for key, row in table.items():
        name, clients = key.split("/")
        ours, peer = row["aortica"], row["peer"]
        print(
            f"{name:<10}{clients:>8}{ours['per_s']:>12.1f}{ours['p99_ms']:>9.1f}{peer['per_s']:>10.1f}{peer['p99_ms']:>9.1f}"
            f"{row['ratio']:>8.2f}{range_of(row['ratios']):>12}{row['p99_ratios']['median']:>7.2f}  {row['better_peer']}"
        )
    for name, apart in ceiling["client_apart"].items():
        for way, seen in ("client apart", apart), ("client on the same cores", ceiling["client_on_the_same_cores"][name]):
            limit = f", limit {LIMITS['goodput_of_ceiling_min']}" if seen is apart else ""
            print(
                f"{name}, {way}: {seen['served']['requests_per_s']:.1f}/s served, {seen['bare_per_s']['median']:.1f}/s bare: "
                f"ratio {seen['ratios']['median']:.3f} ({range_of(seen['ratios'])}{limit})"
            )
    added = summary["added_ms"]
    print(f"one caller, identity: median {added['median']:.3f} ms, p99 {added['p99']:.3f} ms (limits 1 and 3)")
    print("resident MiB: " + ", ".join(f"{name} {mib}" for name, mib in summary["resident_mib"].items()))
    if summary["p99_worse_than_peer"]:
        print("p99 worse than the better peer's: " + ", ".join(summary["p99_worse_than_peer"]))


if __name__ == "__main__":
    sys.exit(main())
