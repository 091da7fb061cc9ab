"""Writes an exported network in other arithmetic beside itself: int8 for processors, fp16 for graphics cards.

    python precisions.py locate --calibration work/locate-radiographs --golden work/locate-validation --folder ../vfa-unet

Reads NAME.onnx and NAME.toml; writes NAME.int8.onnx and NAME.fp16.onnx, each with manifest and golden tensors. The weights are
those of the fp32 file; nothing is trained.

int8: activations 0..255 with one scale a tensor, from the extremes over calibration samples; weights -64..63 with a scale for
each output channel. Seven bits, because two products of eight bits each overflow the 16-bit sums of processors without VNNI:
with seven, every processor adds up the same integers. What comes before the first convolution (local contrast, which needs
fine steps) and the last convolution (whose steps would be those of the landmarks' places) stay fp32.
"""

import argparse
import hashlib
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import shards
from export import GOLDEN_ROWS, NETWORKS, answers

CALIBRATION_SAMPLES = 64
CALIBRATION_SEED = 1
# One rounding step of an inner tensor more or less, on another processor, moves an answer by about this much of its range at most.
TOLERANCE = {"int8": 0.1, "fp16": 0.02}
# Where a precision is taken unless another is asked for. fp16 has not been measured on a graphics card yet.
PREFERRED_ON = {"int8": ["cpu"], "fp16": []}


class Samples(CalibrationDataReader):
    def __init__(self, name, rows):
        self.rows = iter([{name: rows[i : i + 1]} for i in range(len(rows))])

    def get_next(self):
        return next(self.rows, None)


def write_int8(source, inside, rows, path):
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = list(onnx.load(str(prepared)).graph.node)
        convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
        kept = {node.name for node in nodes[: convolutions[0]] + nodes[convolutions[-1] :]}
        ended = {name for node in nodes if node.op_type == "Sigmoid" for name in node.output}
        for node in nodes:
            if ended & set(node.input):
                kept.add(node.name)
                ended |= set(node.output)
        quantize_static(
            str(prepared), str(path), Samples(inside, rows), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8, calibrate_method=CalibrationMethod.MinMax,
            nodes_to_exclude=sorted(kept),
        )


def write_fp16(source, path):
    """From the first convolution up to the last activation in half precision; what comes before and after stays fp32."""
    model = onnx.load(str(source))
    graph = model.graph
    nodes = list(graph.node)
    start = next(i for i, node in enumerate(nodes) if node.op_type == "Conv")
    wide = {output for node in nodes[:start] for output in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    rebuilt = list(nodes[:start])
    casts = {}

    def cast(name, to, kind):
        if (name, kind) not in casts:
            casts[name, kind] = f"{name}_{kind}"
            rebuilt.append(onnx.helper.make_node("Cast", [name], [casts[name, kind]], to=to))
        return casts[name, kind]

    # Outputs of the last activations, and what is made of them.
    ended = set()
    for node in nodes[start:]:
        if node.op_type in ("Sigmoid", "Softmax"):
            node.input[0] = cast(node.input[0], onnx.TensorProto.FLOAT, "fp32")
            ended |= set(node.output)
        elif ended & set(node.input):
            ended |= set(node.output)
        else:
            # Only the first input of these is data; the others say sizes.
            for i in range(1 if node.op_type in ("Resize", "ReduceMean", "Reshape") else len(node.input)):
                name = node.input[i]
                if name in wide:
                    node.input[i] = cast(name, onnx.TensorProto.FLOAT16, "fp16")
                elif name in weights:
                    tensor = weights.pop(name)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), name))
        rebuilt.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(rebuilt)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def manifest(text, name, precision):
    """The manifest of the fp32 file with what differs."""
    path = Path(f"{name}.{precision}.onnx")
    digest = hashlib.sha256((options.folder / path).read_bytes()).hexdigest()
    preferred = ", ".join(f'"{device}"' for device in PREFERRED_ON[precision])
    for pattern, value in {
        r'^file = ".*"$': f'file = "{path}"',
        r'^sha256 = ".*"$': f'sha256 = "{digest}"',
        r'^precision = ".*"$': f'precision = "{precision}"\npreferred_on = [{preferred}]',
        r'^file = ".*golden.npz"$': f'file = "{name}.{precision}.golden.npz"',
        r"^absolute_tolerance = .*$": f"absolute_tolerance = {TOLERANCE[precision]}",
        r"^relative_tolerance = .*$": "relative_tolerance = 0.0",
    }.items():
        text, found = re.subn(pattern, value, text, count=1, flags=re.M)
        assert found == 1, pattern
    return text


def main():
    kind = NETWORKS[options.network]
    inside, outputs, parts = kind.inside, list(kind.outputs), kind.parts
    source = options.folder / f"{kind.model}.onnx"
    text = (options.folder / f"{kind.model}.toml").read_text()
    assert hashlib.sha256(source.read_bytes()).hexdigest() in text, "the manifest is of another file"
    data = shards.Shards([options.calibration], parts)
    random = np.random.default_rng(CALIBRATION_SEED)
    chosen = sorted(random.choice(len(data), CALIBRATION_SAMPLES, replace=False))
    rows = np.ascontiguousarray(data.take(chosen)[0][:, None])
    golden = np.ascontiguousarray(shards.Shards([options.golden], parts).take(range(GOLDEN_ROWS))[0][:, None])
    whole = answers(source, inside, outputs, golden)

    for precision in PREFERRED_ON:
        path = options.folder / f"{kind.model}.{precision}.onnx"
        if precision == "int8":
            write_int8(source, inside, rows, path)
        else:
            write_fp16(source, path)
        model = onnx.load(str(path))
        model.doc_string = "trained on simulated images only; not a medical device"
        onnx.save(model, str(path))
        got = answers(path, inside, outputs, golden)
        np.savez_compressed(
            options.folder / f"{kind.model}.{precision}.golden.npz",
            **{inside: golden}, **{name: np.round(value, 4) for name, value in got.items()},
        )
        (options.folder / f"{kind.model}.{precision}.toml").write_text(manifest(text, kind.model, precision))
        far = {name: round(float(np.abs(got[name].astype(np.float32) - value).max()), 5) for name, value in whole.items()}  # in units of the output
        print(json.dumps({"network": options.network, "precision": precision, "bytes": path.stat().st_size,
                          "largest_difference_from_fp32": far}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--calibration", required=True, help="folder of shards that the ranges of inner tensors are taken from")
    parser.add_argument("--golden", required=True, help="folder of shards to take the golden inputs from")
    parser.add_argument("--folder", required=True, type=Path, help="the pipeline's folder")
    options = parser.parse_args()
    main()
