"""A real Triton serves the folder of `aortica model repository`, and `score` reads images through it: the same rows as without.

    triton.py --aortica target/release/aortica --participants 60 --seed 21 [--record triton.json]

The Triton is the one that PyTriton brings. It has no ONNX Runtime backend, so that one line of each configuration is changed: a Python model
that calls ONNX Runtime on the file beside it stands in. Everything else is the folder as it was written, and Triton's own server, batcher and
protocol.
"""
import argparse
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

import pytriton

MODEL = '''
import os
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        path = os.path.join(args["model_repository"], args["model_version"], "model.onnx")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = {i.name: triton.get_input_tensor_by_name(request, i.name).as_numpy() for i in self.session.get_inputs()}
        names = [output.name for output in self.session.get_outputs()]
        found = self.session.run(names, given)
        return triton.InferenceResponse([triton.Tensor(name, value) for name, value in zip(names, found)])
'''
ROWS = "SELECT * EXCLUDE (scored_at, submission) FROM readings ORDER BY image_id, item_id"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aortica", default="target/release/aortica")
    parser.add_argument("--participants", type=int, default=60)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--record", type=pathlib.Path)
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="aortica-triton."))
    (work / "settings.toml").write_text(f'[study]\nkey_file = "{work}/study.key"\n')
    program = [args.aortica, "--settings", str(work / "settings.toml")]
    run = lambda *words: subprocess.run([*program, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True).stdout
    run("phantom", "--participants", args.participants, "--seed", args.seed, "--out", work / "cohort")
    run("model", "repository", "pipelines/vfa-unet", "--out", work / "models")
    for config in work.glob("models/*/config.pbtxt"):
        text = config.read_text()
        assert text.count('backend: "onnxruntime"') == 1, f"{config}: {text}"
        config.write_text(text.replace('backend: "onnxruntime"', 'backend: "python"'))
        (config.parent / "1/model.py").write_text(MODEL)

    served, version, url = start(work)
    try:
        run("score", work / "cohort/images", "--lake", work / "triton", "--stages", url)
    finally:
        served.terminate()
        served.wait(timeout=60)
    run("score", work / "cohort/images", "--lake", work / "alone")
    tables = [run("query", "--lake", work / lake, "--format", "csv", ROWS) for lake in ("triton", "alone")]
    rows = [table.splitlines() for table in tables]
    differ = sum(a != b for a, b in zip(*rows)) + abs(len(rows[0]) - len(rows[1]))
    record = {"triton": version, "participants": args.participants, "seed": args.seed, "rows": len(rows[1]) - 1, "rows_that_differ": differ}
    print(json.dumps(record, indent=1))
    if args.record:
        args.record.write_text(json.dumps(record, indent=1) + "\n")
    shutil.rmtree(work)
    if differ or len(rows[1]) < args.participants:
        sys.exit("the rows through Triton are not those without")


def start(work):
    """The server, its version, and its address for gRPC, when all models are ready."""
    package = pathlib.Path(pytriton.__file__).parent
    server = package / "tritonserver"
    shutil.copytree(server / "backends", work / "backends")
    stub = "python_backend_stubs/{}.{}/triton_python_backend_stub".format(*sys.version_info[:2])
    shutil.copy(server / stub, work / "backends/python")
    ports = free_ports(3)
    libraries = [package.parent / "nvidia_pytriton.libs", server / "external_libs"]
    environment = {
        "PATH": f"{pathlib.Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(package.parent),
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
    }
    names = [f"--{kind}-{what}={value}" for kind, port in zip(("grpc", "http", "metrics"), ports)
             for what, value in (("port", port), ("address", "127.0.0.1"))]
    words = [server / "bin/tritonserver", f"--model-repository={work}/models", f"--backend-directory={work}/backends", *names]
    running = subprocess.Popen(list(map(str, words)), env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    version, lines = "", []
    for line in running.stderr:
        lines.append(line)
        if "server_version" in line:
            version = line.split("|")[2].strip()
        # The last that it says: all models were loaded before, gRPC and HTTP were opened before.
        if "Started Metrics Service" in line:
            # What it says later is read on, so that it never waits for a reader.
            threading.Thread(target=running.stderr.read, daemon=True).start()
            return running, version, f"http://127.0.0.1:{ports[0]}"
    sys.exit("Triton did not start:\n" + "".join(lines[-40:]))


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


if __name__ == "__main__":
    main()
