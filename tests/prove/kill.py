"""Kills `aortica score` (SIGKILL) after k images, k random, starts it again, and compares the table with that of an undisturbed run.

    kill.py --aortica target/debug/aortica --images 600 --kills 20 --seed 1 [--record kill.json]

k counts artifacts, which appear as images are read: the kill falls anywhere between a put, a commit and the next read.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time


def artifacts(lake):
    return sum(len(files) for _, _, files in os.walk(lake / "artifacts"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", default="target/debug/aortica")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=pathlib.Path)
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="aortica-prove-kill."))
    program = [args.aortica, "--settings", str(work / "settings.toml")]
    (work / "settings.toml").write_text(
        f'[study]\nkey_file = "{work}/study.key"\n[run]\ncommit_rows = 50\ncommit_after_s = 2\n'
    )
    run = lambda *words: subprocess.run([*program, *map(str, words)], check=True, capture_output=True, text=True).stdout
    run("phantom", "--participants", args.images, "--seed", 20_000 + args.seed, "--out", work / "cohort")
    columns = [line.split(",")[0] for line in run("codebook", "--format", "csv").splitlines()[1:]]
    columns = [c for c in columns if c not in ("scored_at", "attempt")]
    table = lambda lake: run("query", "--lake", lake, "--format", "csv", f"SELECT {', '.join(columns)} FROM readings ORDER BY item_id")
    score = ["score", str(work / "cohort/images"), "--lake"]
    run(*score, work / "undisturbed")
    expected = table(work / "undisturbed")
    rows = len(expected.splitlines()) - 1
    assert rows == args.images, f"{rows} rows of {args.images} images"
    draw = random.Random(args.seed)
    equal, killed_at = 0, []
    for number in range(args.kills):
        k = draw.randrange(1, int(0.9 * args.images))
        lake = work / f"killed-{number}"
        child = subprocess.Popen([*program, *score, str(lake)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while child.poll() is None and artifacts(lake) < k:
            time.sleep(0.002)
        killed = child.poll() is None
        child.kill()
        child.wait()
        run(*score, lake)
        same = table(lake) == expected
        equal += same
        killed_at.append(k if killed else None)
        print(f"kill {number + 1:2}: after {k} artifacts{'' if killed else ' (had ended)'}: table {'equal' if same else 'DIFFERS'}", flush=True)
        subprocess.run(["rm", "-rf", str(lake)], check=True)
    print(f"{equal} of {args.kills} tables equal the undisturbed one ({args.images} images, seed {args.seed})")
    if args.record:
        record = {"images": args.images, "kills": args.kills, "seed": args.seed, "killed_after": killed_at, "equal": equal}
        args.record.write_text(json.dumps(record, indent=1) + "\n")
    subprocess.run(["rm", "-rf", str(work)], check=True)
    sys.exit(equal != args.kills)


main()
