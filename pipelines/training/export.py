"""Writes a trained network as ONNX with its manifest, golden tensors and model card.

    python export.py locate --checkpoint work/locate.pt --golden work/locate-validation --out ../vfa-unet --version 1.0.0
    python export.py lvlcrnet --checkpoint work/lvlcrnet.pt --golden work/grade-validation --out ../lvlcrnet --version 1.0.0

The averaged weights are exported, batch normalisation folded into the convolutions, and the file is run by ONNX Runtime
against PyTorch before anything is written.
"""

import argparse
import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn as nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import cards
import grade
import locate
import segment
import shards
from graders import grader
from networks import LOCATE_SHAPE, SEGMENT_SHAPE, Locate, Segment, gflop
from unet_paper import CHANNELS, UnetPaper

OPSET = 18
GOLDEN_ROWS = 2
# Of the range of an output: 1.3 steps of 255.
ABSOLUTE_TOLERANCE = 5e-3
RELATIVE_TOLERANCE = 0.0


def steps_of(logits):
    """Probabilities as 0..255: a quarter of the bytes, and finer than what depends on them."""
    return (torch.sigmoid(logits) * 255.0 + 0.5).to(torch.uint8)


class LocateGraph(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        heatmaps, view = self.network(image.float())
        return steps_of(heatmaps), torch.softmax(view, dim=1)


class SegmentGraph(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, region):
        return steps_of(self.network(region.float()))


class GradeGraph(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, picture):
        given = self.network(picture.float())
        exceeds = grade.exceeds(self.network.head, given["steps"])
        if "view" not in given:
            return exceeds
        return exceeds, torch.sigmoid(given["assessable"]), torch.softmax(given["view"], dim=1)


@dataclass(frozen=True)
class Kind:
    """How a network is exported. `make` sees the weights, which tell widths and heads."""

    # As pipeline definitions and files call it.
    model: str
    make: Callable
    graph: type
    shape: tuple
    inside: str
    outputs: tuple
    parts: tuple


def unet_paper(channels):
    return lambda state: UnetPaper(channels, width=len(state["heads.weight"][0]))


def graded(name):
    def make(state):
        # One row of weights for each segment, or three.
        rows = state["steps.0.linear.weight" if name == "lvlcrnet" else "steps.linear.weight"].shape[0]
        return grader(name, "corn" if rows % 3 == 0 else "coral")

    return make


UNETS = {
    f"unet-{classes}": Kind(
        "segment", unet_paper(channels), SegmentGraph, SEGMENT_SHAPE, "region", ("calcification",), segment.PARTS
    )
    for classes, channels in CHANNELS.items()
}
GRADERS = {
    "baseline": Kind(
        "grade", graded("baseline"), GradeGraph, LOCATE_SHAPE, "image", ("exceeds", "assessable", "view"), grade.parts_of("baseline")
    ),
    "lvlnet": Kind("grade", graded("lvlnet"), GradeGraph, SEGMENT_SHAPE, "spine", ("exceeds",), grade.parts_of("lvlnet")),
    "lvlcrnet": Kind("grade", graded("lvlcrnet"), GradeGraph, SEGMENT_SHAPE, "region", ("exceeds",), grade.parts_of("lvlcrnet")),
}
NETWORKS = {
    "locate": Kind("locate", lambda state: Locate(), LocateGraph, LOCATE_SHAPE, "image", ("heatmaps", "view"), locate.PARTS),
    "segment": Kind("segment", lambda state: Segment(), SegmentGraph, SEGMENT_SHAPE, "region", ("calcification",), segment.PARTS),
    **UNETS,
    **GRADERS,
}


def folded(module):
    """The same function without batch normalisation: each is folded into the convolution before it."""
    module = copy.deepcopy(module).eval()

    def fold(parent):
        if isinstance(parent, nn.Sequential):
            for index in range(len(parent) - 1):
                if isinstance(parent[index], nn.Conv2d) and isinstance(parent[index + 1], nn.BatchNorm2d):
                    parent[index] = fuse_conv_bn_eval(parent[index], parent[index + 1])
                    parent[index + 1] = nn.Identity()
        for child in parent.children():
            fold(child)

    fold(module)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules()), "a normalisation is left over"
    return module


def write_onnx(graph, shape, inside, outputs, path, only):
    example = torch.randint(0, 256, (2, 1, *shape), dtype=torch.uint8)
    axes = {name: {0: "batch"} for name in [inside, *outputs]}
    torch.onnx.export(
        graph, (example,), str(path), input_names=[inside], output_names=outputs, dynamic_axes=axes,
        opset_version=OPSET, do_constant_folding=True, dynamo=False,
    )
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    model.doc_string = f"{only}not a medical device"
    onnx.save(model, str(path))


def answers(path, inside, outputs, pictures):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(outputs, {inside: pictures})))


def compare(got, want):
    worst = 0.0
    for name, value in want.items():
        unit = 255.0 if value.dtype == np.uint8 else 1.0
        distance = np.abs(got[name].astype(np.float32) - value.astype(np.float32)) / unit
        assert (distance <= ABSOLUTE_TOLERANCE).all(), f"{name} differs"
        worst = max(worst, float(distance.max()))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--golden", required=True, help="folder of shards to take the golden inputs from")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--version", required=True, help="dotted numbers, e.g. 1.0.0")
    parser.add_argument("--own-data", default="", help="sentence on the pictures, where they are not the simulator's (docs/train-your-own.md)")
    parser.add_argument("--seeds", default="", help="sentence on the seeds of the shards, for the model card")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kind = NETWORKS[options.network]
    inside, outputs = kind.inside, list(kind.outputs)
    saved = torch.load(options.checkpoint, weights_only=True)
    network = kind.make(saved["average"])
    network.load_state_dict(saved["average"])
    network.eval()
    graph = kind.graph(folded(network)).eval()

    data = shards.Shards([options.golden], kind.parts)
    pictures = np.ascontiguousarray(data.take(range(min(GOLDEN_ROWS, len(data))))[0][:, None])
    with torch.no_grad():
        want = kind.graph(network).eval()(torch.from_numpy(pictures))
    want = dict(zip(outputs, [t.numpy() for t in (want if isinstance(want, tuple) else (want,))]))

    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{kind.model}.onnx"
    write_onnx(graph, kind.shape, inside, outputs, path, "" if options.own_data else "trained on simulated images only; ")
    got = answers(path, inside, outputs, pictures)
    worst = compare(got, want)
    alone = answers(path, inside, outputs, pictures[:1])
    compare({name: value[:1] for name, value in got.items()}, alone)

    # Digits far below the tolerance would only make the file large.
    rounded = {name: np.round(value, 4) for name, value in got.items()}
    np.savez_compressed(options.out / f"{kind.model}.golden.npz", **{inside: pictures}, **rounded)
    facts = {
        "digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "version": options.version,
        "gflop": round(gflop(network, kind.shape), 3),
        "parameters": sum(p.numel() for p in network.parameters()),
        "step": saved["step"],
        "samples": saved["samples"],
        "distinct_samples": saved["distinct_samples"],
        "model": kind.model,
        "validation": saved["validation"],
        "seeds": options.seeds,
        "own_data": options.own_data,
        "absolute": ABSOLUTE_TOLERANCE,
        "relative": RELATIVE_TOLERANCE,
    }
    (options.out / f"{kind.model}.toml").write_text(cards.manifest(options.network, facts))
    (options.out / f"{kind.model}.card.md").write_text(cards.card(options.network, facts))
    print(json.dumps(facts | {"bytes": path.stat().st_size, "largest_difference": worst}))


if __name__ == "__main__":
    main()
