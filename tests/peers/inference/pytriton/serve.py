"""Models behind PyTriton: a real Triton Inference Server, whose model is a Python function that calls ONNX Runtime.

    python serve.py --grpc-port N --http-port N --workers N --threads N NAME=MODEL.onnx ..
"""

import argparse

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


def session_of(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def function_of(session):
    names = [output.name for output in session.get_outputs()]

    @batch
    def infer(**inputs):
        return dict(zip(names, session.run(names, inputs)))

    return infer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True, help="instances of each model")
    parser.add_argument("--threads", type=int, required=True, help="threads of ONNX Runtime in each instance")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    config = TritonConfig(
        grpc_address="127.0.0.1", grpc_port=options.grpc_port, http_address="127.0.0.1", http_port=options.http_port,
        allow_metrics=False, log_verbose=0,
    )
    with Triton(config=config) as triton:
        for model in options.models:
            name, path = model.split("=", 1)
            sessions = [session_of(path, options.threads) for _ in range(options.workers)]
            tensor = lambda value: Tensor(name=value.name, dtype=TYPES[value.type], shape=tuple(value.shape[1:]))
            triton.bind(
                model_name=name,
                infer_func=[function_of(session) for session in sessions],
                inputs=[tensor(value) for value in sessions[0].get_inputs()],
                outputs=[tensor(value) for value in sessions[0].get_outputs()],
                config=ModelConfig(max_batch_size=16, batcher=DynamicBatcher(max_queue_delay_microseconds=2000)),
                strict=False,
            )
        triton.serve()


if __name__ == "__main__":
    main()
