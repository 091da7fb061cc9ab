"""Training tensors as `aortica-learning training-set` writes them, and the loop that all networks share.

A shard is a set of .npy files with one common prefix (`shard-00003.images.npy`, `shard-00003.corners.npy`, ..). Files are
mapped, not read; a training run picks up shards that appear while it runs.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

# Samples drawn between two looks for new shards.
RESCAN_EVERY_STEPS = 50


def autocast():
    """bfloat16 where the processor computes in it; on others it takes twice as long as 32 bit."""
    computes = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.autocast("cpu", torch.bfloat16, enabled=computes)


class Shards:
    """Samples of all complete shards under some folders, drawn at random without regard to shard borders."""

    def __init__(self, folders, parts):
        """`parts`: names of the tensors, e.g. ("images", "corners", "view"); the last is written last by the writer."""
        self.folders = [Path(folder) for folder in folders]
        self.parts = parts
        self.shards = []
        self.known = set()
        self.rescan()
        if not self.shards:
            raise SystemExit(f"no shards in {', '.join(map(str, self.folders))}: run `aortica-learning training-set` first")

    def rescan(self):
        for folder in self.folders:
            for last in sorted(folder.glob(f"shard-*.{self.parts[-1]}.npy")):
                if last in self.known:
                    continue
                prefix = str(last)[: -len(f"{self.parts[-1]}.npy")]
                self.shards.append([np.load(f"{prefix}{part}.npy", mmap_mode="r") for part in self.parts])
                self.known.add(last)
        self.ends = np.cumsum([len(shard[0]) for shard in self.shards])

    def distinct(self):
        """Samples that are not a link to another one: a folder may be linked to weigh more."""
        files = {last.resolve() for last in self.known}
        return sum(len(np.load(file, mmap_mode="r")) for file in files)

    def __len__(self):
        return int(self.ends[-1]) if len(self.shards) else 0

    def take(self, indices):
        """Tensors of the samples at `indices`, one array for each part."""
        rows = []
        for index in indices:
            shard = int(np.searchsorted(self.ends, index, side="right"))
            start = int(self.ends[shard - 1]) if shard else 0
            rows.append([part[index - start] for part in self.shards[shard]])
        return [np.stack(column) for column in zip(*rows)]

    def draw(self, random, count):
        return self.take(random.integers(0, len(self), count))


class MovingAverage:
    """Exponential moving average of weights and batch statistics; it is what gets validated and exported."""

    def __init__(self, network, decay=0.998):
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network, step):
        decay = min(self.decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if value.dtype.is_floating_point:
                    self.state[name].lerp_(value, 1 - decay)
                else:
                    self.state[name].copy_(value)


def add_arguments(parser, batch, rate):
    parser.add_argument("--shards", nargs="+", required=True, help="folders of training shards")
    parser.add_argument("--validation", required=True, help="folder of validation shards (another seed)")
    parser.add_argument("--checkpoint", required=True, help="file to write and, if it exists, to go on from")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=6000, help="steps of this run (default %(default)s)")
    length.add_argument("--until", type=int, help="go on until this step since the first start; nothing to do if it is reached")
    length.add_argument("--minutes", type=float, help="end this run after so many minutes")
    parser.add_argument("--batch", type=int, default=batch, help="samples a step (default %(default)s)")
    parser.add_argument("--rate", type=float, default=rate, help="learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and of the order of samples")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1: more only wait here)")
    parser.add_argument("--compile", action="store_true", help="let torch fuse the network's steps (needs a C++ compiler); half the time of `segment`")
    parser.add_argument("--validate-every", type=int, default=500, help="steps between validations")


def rate_at(progress, step):
    """Share of the learning rate at `progress` 0..1 of a run: short warm-up, constant, linear decay in the last 40 %."""
    return min(1.0, (step + 1) / 200) * min(1.0, max(0.01, (1.0 - progress) / 0.4))


def adamw(network, rate):
    """Weight decay on weights, none on biases and normalisations."""
    decayed = [p for p in network.parameters() if p.dim() > 1]
    plain = [p for p in network.parameters() if p.dim() <= 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 1e-3}, {"params": plain, "weight_decay": 0.0}], lr=rate
    )


@dataclass(frozen=True)
class Recipe:
    """What differs between ways of training."""

    # (network, rate) -> optimiser
    optimiser: Callable = adamw
    # (progress 0..1, step) -> share of the learning rate
    rate_at: Callable = rate_at
    # Of the moving average that is validated and exported; 0 exports the weights as they are.
    average_decay: float = 0.998
    # Norm that gradients are cut to.
    gradient_max: float = 5.0


def train(options, network, parts, loss_of, validate, recipe=Recipe(), draw=None):
    """Trains until the steps or the minutes of this run are used up.

    `loss_of(network, arrays) -> (loss, {name: number})` sees one batch; `validate(network) -> {name: number}` sees the
    averaged network in evaluation mode; `draw(shards, random, count) -> arrays` draws a batch, evenly unless told otherwise.
    The checkpoint holds the network, its average, the optimiser and the step.
    """
    torch.set_num_threads(options.threads)
    checkpoint = Path(options.checkpoint)
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    network.to(memory_format=torch.channels_last)
    optimiser = recipe.optimiser(network, options.rate)
    average = MovingAverage(network, recipe.average_decay)
    draw = draw or Shards.draw
    step, seen = 0, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        network.load_state_dict(saved["network"])
        optimiser.load_state_dict(saved["optimiser"])
        average.state = saved["average"]
        step, seen = saved["step"], saved["samples"]
        print(f"goes on from step {step}", flush=True)
    # Shares its weights with `network`, which validates.
    trained = torch.compile(network) if options.compile else network
    shards = Shards(options.shards, parts)
    random = np.random.default_rng([options.seed, step])
    first, started, recent = step, time.monotonic(), {}

    def save(metrics):
        content = {
            "network": network.state_dict(),
            "average": average.state,
            "optimiser": optimiser.state_dict(),
            "step": step,
            "samples": seen,
            "distinct_samples": shards.distinct(),
            "validation": metrics,
        }
        partial = checkpoint.with_suffix(".partial")
        torch.save(content, partial)
        partial.replace(checkpoint)

    def progress():
        if options.minutes:
            return (time.monotonic() - started) / (60 * options.minutes)
        if options.until:
            # One schedule over all runs, so that an interrupted training ends as an undisturbed one would.
            return step / options.until
        return (step - first) / options.steps

    def check():
        training_state = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(average.state)
        network.eval()
        with torch.no_grad():
            metrics = validate(network)
        network.load_state_dict(training_state)
        save(metrics)
        speed = (step - first) * options.batch / (time.monotonic() - started)
        numbers = {name: round(value / max(1, recent["n"]), 5) for name, value in recent.items() if name != "n"}
        print(
            json.dumps({"step": step, "samples": seen, "pool": len(shards), "per_s": round(speed, 1)} | numbers | metrics),
            flush=True,
        )
        return metrics

    while progress() < 1.0:
        if (step - first) % RESCAN_EVERY_STEPS == 0:
            shards.rescan()
        for group in optimiser.param_groups:
            group["lr"] = options.rate * recipe.rate_at(progress(), step if options.until else step - first)
        network.train()
        loss, numbers = loss_of(trained, draw(shards, random, options.batch))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.gradient_max)
        optimiser.step()
        step += 1
        seen += options.batch
        average.update(network, step)
        recent["n"] = recent.get("n", 0) + 1
        for name, value in numbers.items():
            recent[name] = recent.get(name, 0.0) + value
        if (step - first) % options.validate_every == 0:
            check()
            recent = {}
    check()
