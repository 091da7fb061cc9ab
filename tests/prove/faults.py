"""Has 2,000 images go through a real RabbitMQ and a real Ceph RGW while workers, committers and stage services are SIGKILLed, the broker is
killed and started again twice and the store once, and proxies cut, stall and slow connections; then holds that every item is accounted
for, has one row in the files, and that the table is the one that `aortica score` makes of the same bucket.

    python3 tests/prove/faults.py --aortica target/release/aortica --record tests/prove/faults.json

The seed draws what happens; see tests/faults/storm.py. `make faults` runs a short form.
"""
import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile

BLOWS = {"kill": 24, "cut": 12, "slow": 3, "stall": 3, "stall_server": 2, "restart_broker": 2, "restart_store": 1}
SIZE = {"workers": 3, "committers": 2, "prefetch": 8, "rows": 20}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", default="target/debug/aortica")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=pathlib.Path)
    args = parser.parse_args()
    os.environ["AORTICA"] = os.path.abspath(args.aortica)
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "faults"))
    import study
    from storm import Storm

    servers = study.Servers("bluestore")
    try:
        with tempfile.TemporaryDirectory() as folder:
            study.simulate(folder, args.images, 30_000 + args.seed)
            images = pathlib.Path(folder, "images")
            whole = sorted(images.iterdir())
            # among them what is no image, and what is a part of one: their rows must come through as well
            (images / "note.txt").write_text("not an image\n")
            for number, file in enumerate(whole[:: len(whole) // 10]):
                (images / f"part-{number}.dcm").write_bytes(file.read_bytes()[:-1000])
            servers.put_folder(images, "images", "storm")
        found = Storm(servers, "s3://images/storm", args.seed, BLOWS, SIZE).run(lambda line: print(line, flush=True))
    finally:
        servers.stop()
    version = subprocess.run([args.aortica, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")
    facts = {"date": datetime.date.today().isoformat(), "cores": os.cpu_count(), "build": [line.strip() for line in version[1:4]]}
    record = {"facts": facts, "images": args.images, "seed": args.seed, "size": SIZE, **found}
    text = json.dumps(record, indent=1)
    print(text)
    if args.record:
        args.record.write_text(text + "\n")


main()
