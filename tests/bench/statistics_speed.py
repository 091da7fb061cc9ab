#!/usr/bin/env python3
"""Statistics over ten million readings and a hundred million pairs, beside DuckDB on the same Parquet files.

Both engines get two threads and 1 GiB (`--memory`), read the same files (zstd, row groups of 65,536, in the page cache), and answer every statement
several times, in turns of one process each; the medians are compared. DuckDB computes what it can of each: the sums behind bias, SD, MAE and Pearson's r, the
share of scores of at least 1, quantiles. Ours are the statistics as they are published, with their intervals. Where both give the same number, it is checked.

The hundred million pairs are a file of two columns of one byte: their kappas, ICCs, Bland-Altman limits and the rest come from one count matrix.
"""

import argparse
import datetime
import json
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

WANTED = {"ratio": 1.0, "pairs_s": 10.0}

# name: (ours, DuckDB's, numbers that must agree: {column of DuckDB's first row: how ours is found})
AGREEMENT = "SELECT unnest(agreement(aac_joint({a}, {b}))) AS told FROM {table}"
SUMS = (
    "SELECT count(*) AS n, avg(d) AS bias, stddev_samp(d) AS sd_difference, avg(abs(d)) AS mae, corr(m, r) AS pearson "
    "FROM (SELECT {b}::DOUBLE AS m, {a}::DOUBLE AS r, {b}::INTEGER - {a}::INTEGER AS d FROM {table} WHERE {a} IS NOT NULL AND {b} IS NOT NULL)"
)
OURS = {
    "agreement": AGREEMENT.format(a="reference", b="aac24_total", table="readings"),
    "prevalence": "SELECT sex, age_years / 10 AS band, aac_prevalence(aac_hist(aac24_total), 1) AS told FROM readings "
    "WHERE status = 'scored' GROUP BY sex, age_years / 10 ORDER BY sex, band",
    "quantiles": "SELECT aac_quantile(h, 0.25)['estimate'] AS q1, aac_median(h)['estimate'] AS median, aac_quantile(h, 0.75)['estimate'] AS q3, "
    "aac_quantile(h, 0.95)['estimate'] AS p95 FROM (SELECT aac_hist(aac24_total) AS h FROM readings)",
    "quantiles_continuous": "SELECT unnest(describe(aac_length_mm)) AS told FROM readings",
    "pairs": AGREEMENT.format(a="reference", b="model", table="pairs"),
}
DUCKDB = {
    "agreement": SUMS.format(a="reference", b="aac24_total", table="readings"),
    "prevalence": "SELECT sex, age_years // 10 AS band, avg((aac24_total >= 1)::INTEGER) AS share, count(aac24_total) AS n FROM readings "
    "WHERE status = 'scored' GROUP BY ALL ORDER BY ALL",
    "quantiles": "SELECT quantile_cont(aac24_total, 0.25) AS q1, quantile_cont(aac24_total, 0.5) AS median, "
    "quantile_cont(aac24_total, 0.75) AS q3, quantile_cont(aac24_total, 0.95) AS p95 FROM readings",
    "quantiles_continuous": "SELECT avg(aac_length_mm) AS mean, stddev_samp(aac_length_mm) AS sd, "
    "quantile_cont(aac_length_mm, [0, 0.25, 0.5, 0.75, 1]) AS quantiles FROM readings",
    "pairs": SUMS.format(a="reference", b="model", table="pairs"),
}


def duckdb(folder, threads, rounds, memory):
    """In a process of its own: statements from stdin, seconds and rows to stdout."""
    import duckdb as engine

    connection = engine.connect(config={"threads": threads, "memory_limit": f"{memory}MiB"})
    for table in ["readings", "pairs"]:
        if list(folder.glob(f"{table}-*.parquet")):
            connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{folder}/{table}-*.parquet')")
    told = {}
    for name, sql in json.load(sys.stdin).items():
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            answer = connection.execute(sql)
            rows = answer.fetchall()
            seconds.append(time.perf_counter() - began)
        columns = [column[0] for column in answer.description]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        told[name] = {"seconds": seconds, "rows": [dict(zip(columns, row)) for row in rows], "peak_mib": peak}
    print(json.dumps(told))


def ask(command, statements):
    done = subprocess.run([str(word) for word in command], input=json.dumps(statements), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def estimates(rows):
    """Our long tables by name of the statistic."""
    return {row["told"]["statistic"]: row["told"]["estimate"] for row in rows}


def disagreements(name, ours, theirs):
    """What both say and say differently, by 1e-9 relative."""
    if name in ("agreement", "pairs"):
        told = estimates(ours)
        pairs = [(key, told[key], value) for key, value in theirs[0].items() if key != "n"]
    elif name == "prevalence":
        if len(ours) != len(theirs):
            return [f"{len(ours)} groups, not {len(theirs)}"]
        pairs = []
        for a, b in zip(ours, theirs):
            group = f"{b['sex']} {b['band']}"
            pairs += [(group, a["told"]["estimate"], b["share"]), (f"{group} n", a["told"]["n"], b["n"])]
    elif name == "quantiles":
        pairs = [(key, ours[0][key], value) for key, value in theirs[0].items()]
    else:
        told, row = estimates(ours), theirs[0]
        pairs = [("mean", told["mean"], row["mean"]), ("sd", told["sd"], row["sd"])]
        pairs += [(key, told[key], value) for key, value in zip(["min", "q1", "median", "q3", "max"], row["quantiles"])]
    return [f"{key}: {a} and {b}" for key, a, b in pairs if not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--speed", help="the example `statistics_speed`")
    add("--rows", type=int, default=10_000_000, help="readings")
    add("--pairs", type=int, default=100_000_000)
    add("--rounds", type=int, default=3, help="answers of each statement in a process")
    add("--turns", type=int, default=6, help="processes of each engine, in turns: many, as a shared machine is not the same from one to the next")
    add("--threads", type=int, default=2)
    add("--memory", type=int, default=1024, help="MiB of each engine")
    add("--files", type=Path, help="folder with files of an earlier run, or for those of this one; default: made and deleted")
    add("--record", type=Path, default=Path("tests/bench/statistics.json"))
    add("--duckdb", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def generated(options, folder):
    command = [options.speed, "generate", "--out", folder, "--rows", options.rows, "--pairs", options.pairs]
    done = measure.run(command, folder / "generate.log")
    told = json.loads(done.stdout)
    sizes = {t: sum(f.stat().st_size for f in folder.glob(f"{t}-*.parquet")) / 2**20 for t in ["readings", "pairs"]}
    return {**told, "mib": sizes, "peak_mib": done.peak_mib}


def main():
    options = arguments()
    if options.duckdb:
        return duckdb(options.duckdb, options.threads, options.rounds, options.memory)
    own = tempfile.mkdtemp(prefix="aortica-statistics.") if options.files is None else None
    folder = Path(own or options.files)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        made = generated(options, folder) if not list(folder.glob("readings-*.parquet")) else None
        common = ["--threads", options.threads, "--rounds", options.rounds, "--memory", options.memory]
        engines = {
            "ours": ([options.speed, "query", "--dir", folder, *common], OURS),
            "duckdb": ([sys.executable, __file__, "--duckdb", folder, *common], DUCKDB),
        }
        answers = {engine: [] for engine in engines}
        # once unmeasured, so that the files are in the page cache for whoever comes first
        ask(["sh", "-c", f"cat '{folder}'/*.parquet > /dev/null; echo {{}}"], {})
        for _ in range(options.turns):
            for engine, (command, statements) in engines.items():
                answers[engine].append(ask(command, statements))
    finally:
        if own:
            shutil.rmtree(own)
    record, wrong = {}, []
    for name in OURS:
        told = {engine: [s for turn in turns for s in turn[name]["seconds"]] for engine, turns in answers.items()}
        median = {engine: statistics.median(seconds) for engine, seconds in told.items()}
        peaks = {engine: max(turn[name]["peak_mib"] for turn in turns) for engine, turns in answers.items()}
        record[name] = {"seconds": told, "median_s": median, "ratio": median["ours"] / median["duckdb"], "peak_mib": peaks,
                        "statements": {"ours": OURS[name], "duckdb": DUCKDB[name]}}
        differ = disagreements(name, answers["ours"][-1][name]["rows"], answers["duckdb"][-1][name]["rows"])
        wrong += [f"{name}: {difference}" for difference in differ]
        print(f"{name:22} ours {median['ours']:7.3f} s   DuckDB {median['duckdb']:7.3f} s   ratio {record[name]['ratio']:5.2f}   "
              f"peak MiB {peaks['ours']:,.0f} / {peaks['duckdb']:,.0f}")
    facts = {
        "date": datetime.date.today().isoformat(), "machine": platform.machine(), "cores": os.cpu_count(), "threads": options.threads,
        "memory_mib": options.memory, "duckdb": "2.0.0", "readings": options.rows, "pairs": options.pairs, "load_before": os.getloadavg()[0],
        "release": "release" in str(options.speed),
    }
    summary = {"ratios": {name: told["ratio"] for name, told in record.items()}, "pairs_s": record["pairs"]["median_s"]["ours"],
               "differences": wrong}
    told = {"facts": facts, "wanted": WANTED, "summary": summary, "generated": made, "statements": record}
    options.record.write_text(json.dumps(told, indent=1) + "\n")
    print(f"record: {options.record}")
    if wrong:
        print("the engines differ:\n" + "\n".join(wrong), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
