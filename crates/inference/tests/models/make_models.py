"""Writes the small models of the tests of crate `inference`, with manifests and golden answers, beside this script.

    python make_models.py        (needs numpy and onnx; the same versions write the same bytes)

scale     UINT8 picture -> FP32 picture in 0..1, and its mean: two outputs
conv      two convolutions: its last digits would show it if neighbours in a batch mattered
identity  UINT8 frame of the size of the network `locate` -> itself: what a call costs around a network
picky     looks a number up in a table of ten: fails on rows that hold 10 or more
types     INT8 and FP16 inputs, FP32, FP16 and INT8 outputs
fixed     like scale, with a batch of two rows fixed in the graph
"""

import hashlib
import pathlib

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper, numpy_helper

FOLDER = pathlib.Path(__file__).parent
NAMES = {T.UINT8: "UINT8", T.INT8: "INT8", T.FLOAT16: "FP16", T.FLOAT: "FP32"}


def write(name, nodes, inputs, outputs, constants=(), batch=None, preferred=1, most=64, golden=None):
    """`inputs` and `outputs` are lists of (name, type, sizes after the batch axis, meaning)."""

    def infos(tensors):
        return [helper.make_tensor_value_info(n, t, [batch or "batch", *sizes]) for n, t, sizes, _ in tensors]

    initializers = [numpy_helper.from_array(value, key) for key, value in constants]
    graph = helper.make_graph(nodes, name, infos(inputs), infos(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="")
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    (FOLDER / f"{name}.onnx").write_bytes(data)

    lines = [
        f'name = "{name}"',
        'version = "1"',
        f'file = "{name}.onnx"',
        f'sha256 = "{hashlib.sha256(data).hexdigest()}"',
        'summary = "test model, see make_models.py"',
        "",
        "[batch]",
        f"preferred = {preferred}",
        f"max = {most}",
    ]
    for kind, tensors in (("inputs", inputs), ("outputs", outputs)):
        for n, t, sizes, meaning in tensors:
            axes = ["channel", "row", "column"][: len(sizes)]
            dims = ", ".join(f'{{ axis = "{axis}", size = {size} }}' for axis, size in zip(axes, sizes))
            lines += [
                "",
                f"[[{kind}]]",
                f'name = "{n}"',
                f'dtype = "{NAMES[t]}"',
                f'meaning = "{meaning}"',
                f'dims = [{{ axis = "batch" }}, {dims}]',
            ]
    if golden:
        np.savez_compressed(FOLDER / f"{name}.golden.npz", **golden)
        lines += [
            "",
            "[golden]",
            f'file = "{name}.golden.npz"',
            "absolute_tolerance = 1e-6",
            "relative_tolerance = 1e-5",
        ]
    (FOLDER / f"{name}.toml").write_text("\n".join(lines) + "\n")


def scaling():
    """Nodes and constants from UINT8 `image` to `scaled` in 0..1 and its `mean`."""
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=T.FLOAT),
        helper.make_node("Div", ["grey", "white"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled"], ["mean_4d"], axes=[2, 3]),
        helper.make_node("Flatten", ["mean_4d"], ["mean"], axis=1),
    ]
    return nodes, [("white", np.array(255.0, np.float32))]


def main():
    picture = [("image", T.UINT8, [1, 4, 8], "grey value")]
    scaled = [
        ("scaled", T.FLOAT, [1, 4, 8], "grey value / 255"),
        ("mean", T.FLOAT, [1], "mean of scaled"),
    ]
    nodes, constants = scaling()
    image = np.arange(3 * 32, dtype=np.uint8).reshape(3, 1, 4, 8)
    want = image.astype(np.float32) / np.float32(255)
    golden = {"image": image, "scaled": want, "mean": want.mean((2, 3))}
    write("scale", nodes, picture, scaled, constants, preferred=4, most=16, golden=golden)
    write("fixed", nodes, picture, scaled, constants, batch=2, preferred=2, most=16)

    random = np.random.default_rng(1)
    weights = [
        ("white", np.array(255.0, np.float32)),
        ("first", random.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32)),
        ("second", random.normal(0, 0.2, (4, 8, 3, 3)).astype(np.float32)),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=T.FLOAT),
        helper.make_node("Div", ["grey", "white"], ["unit"]),
        helper.make_node("Conv", ["unit", "first"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "second"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c2"], ["maps"]),
    ]
    write(
        "conv",
        nodes,
        [("image", T.UINT8, [1, 24, 16], "grey value")],
        [("maps", T.FLOAT, [4, 24, 16], "of no meaning")],
        weights,
        preferred=4,
        most=16,
    )

    frame = [1, 512, 256]
    write(
        "identity",
        [helper.make_node("Identity", ["image"], ["copy"])],
        [("image", T.UINT8, frame, "grey value")],
        [("copy", T.UINT8, frame, "the same")],
    )

    write(
        "picky",
        [
            helper.make_node("Cast", ["number"], ["index"], to=T.INT64),
            helper.make_node("Gather", ["table", "index"], ["square"], axis=0),
        ],
        [("number", T.UINT8, [1], "0 to 9; anything else is an error")],
        [("square", T.FLOAT, [1], "its square")],
        [("table", np.arange(10, dtype=np.float32) ** 2)],
        preferred=4,
        most=16,
    )

    write(
        "types",
        [
            helper.make_node("Cast", ["small"], ["wide"], to=T.FLOAT),
            helper.make_node("Cast", ["half"], ["wide_half"], to=T.FLOAT),
            helper.make_node("Add", ["wide", "wide_half"], ["sum"]),
            helper.make_node("Add", ["half", "half"], ["twice"]),
            helper.make_node("Identity", ["small"], ["same"]),
        ],
        [("small", T.INT8, [3], "signed"), ("half", T.FLOAT16, [3], "half precision")],
        [
            ("sum", T.FLOAT, [3], "small + half"),
            ("twice", T.FLOAT16, [3], "2 half"),
            ("same", T.INT8, [3], "small"),
        ],
        preferred=2,
        most=8,
    )


if __name__ == "__main__":
    main()
