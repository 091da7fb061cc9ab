"""Writes the settings of MLServer for some models and becomes it.

    python serve.py --grpc-port N --http-port N --workers N --threads N --folder DIR NAME=MODEL.onnx ..
"""

import argparse
import json
import os
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--grpc-port", type=int, required=True)
parser.add_argument("--http-port", type=int, required=True)
parser.add_argument("--workers", type=int, required=True, help="parallel workers; 0 computes in the process of the server")
parser.add_argument("--threads", type=int, required=True, help="threads of ONNX Runtime")
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("models", nargs="+")
options = parser.parse_args()

here = Path(__file__).resolve().parent
options.folder.mkdir(parents=True, exist_ok=True)
settings = {
    "host": "127.0.0.1",
    "grpc_port": options.grpc_port,
    "http_port": options.http_port,
    "metrics_endpoint": None,
    "parallel_workers": options.workers,
    "grpc_max_message_length": 64 << 20,
    "debug": False,
}
(options.folder / "settings.json").write_text(json.dumps(settings))
for model in options.models:
    name, path = model.split("=", 1)
    folder = options.folder / name
    folder.mkdir(exist_ok=True)
    described = {"name": name, "implementation": "onnx_runtime.OnnxModel", "parameters": {"uri": path}}
    (folder / "model-settings.json").write_text(json.dumps(described))
environment = {**os.environ, "PYTHONPATH": str(here), "ORT_THREADS": str(options.threads)}
program = Path(sys.executable).parent / "mlserver"
os.execve(program, [str(program), "start", str(options.folder)], environment)
