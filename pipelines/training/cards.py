"""The texts beside a model: its manifest (TOML, read by the program) and its model card (Markdown, read by people)."""

LANDMARKS = [
    f"{vertebra} {corner}"
    for vertebra in ("T12", "L1", "L2", "L3", "L4", "L5", "S1")
    for corner in ("anterior superior", "posterior superior", "anterior inferior", "posterior inferior")
][:26]

MANIFESTS = {
    "locate": """summary = "named vertebral corners as heatmaps, and the kind of view, from a whole lateral picture"
precision = "fp32"
gflop_per_row = {gflop}

[batch]
preferred = 1
max = 16

[[inputs]]
name = "image"
dtype = "UINT8"
meaning = "picture centred in the frame, square pixels, 0.5 % to 99.5 % of its grey values stretched to 0..255, bone bright, padding 0; not turned, not mirrored"
range = [0.0, 255.0]
dims = [
    {{ axis = "batch" }},
    {{ axis = "channel", size = 1 }},
    {{ axis = "row", size = 512, meaning = "head to foot" }},
    {{ axis = "column", size = 256, meaning = "as displayed, left to right" }},
]

[[outputs]]
name = "heatmaps"
dtype = "FP32"
meaning = "per landmark, a Gaussian of standard deviation 1.5 cells and height 1 at its place, all 0 where it is not in the picture; cell (i, j) is centred on input row 4 i + 1.5, column 4 j + 1.5"
range = [0.0, 1.0]
dims = [
    {{ axis = "batch" }},
    {{ axis = "channel", size = 26 }},
    {{ axis = "row", size = 128, meaning = "head to foot" }},
    {{ axis = "column", size = 64, meaning = "as displayed, left to right" }},
]
channels = [
{landmarks}
]

[[outputs]]
name = "view"
dtype = "FP32"
meaning = "probability of each kind of view"
range = [0.0, 1.0]
dims = [{{ axis = "batch" }}, {{ axis = "channel", size = 3 }}]
channels = ["lateral lumbar spine", "frontal spine", "anything else"]
""",
    "segment": """summary = "calcification of the anterior and the posterior aortic wall in the canonical region"
precision = "fp32"
gflop_per_row = {gflop}

[batch]
preferred = 1
max = 16

[[inputs]]
name = "region"
dtype = "UINT8"
meaning = "canonical region around the aorta, 64 rows a level from the T12/L1 to the L4/L5 mid-disc, 1 % to 99 % of the greys of its valid pixels stretched to 0..255, bone bright"
range = [0.0, 255.0]
dims = [
    {{ axis = "batch" }},
    {{ axis = "channel", size = 1 }},
    {{ axis = "row", size = 256, meaning = "head to foot" }},
    {{ axis = "column", size = 128, meaning = "anterior to posterior" }},
]

[[outputs]]
name = "calcification"
dtype = "FP32"
meaning = "probability that a pixel is visible calcification of that wall"
range = [0.0, 1.0]
dims = [
    {{ axis = "batch" }},
    {{ axis = "channel", size = 2 }},
    {{ axis = "row", size = 256, meaning = "head to foot" }},
    {{ axis = "column", size = 128, meaning = "anterior to posterior" }},
]
channels = ["anterior wall", "posterior wall"]
""",
}


def manifest(network: str, facts: dict) -> str:
    landmarks = "\n".join(f'    "{name}",' for name in LANDMARKS)
    return (
        f'name = "{network}"\nversion = "{facts["version"]}"\nfile = "{network}.onnx"\nsha256 = "{facts["digest"]}"\n'
        + MANIFESTS[network].format(gflop=facts["gflop"], landmarks=landmarks)
        + f'\n[golden]\nfile = "{network}.golden.npz"\nabsolute_tolerance = {facts["absolute"]}\n'
        + f'relative_tolerance = {facts["relative"]}\n'
    )


METRICS = {
    "corner_error_pct": "mean error of the corners of L1-L4, % of vertebral height",
    "corner_error_median_pct": "median of the same",
    "shifted_pct": "pictures with the levels named one off, %",
    "found_pct": "corners with a peak above 0.3, %",
    "view_pct": "kind of view right, %",
    "dice_mean": "Dice, mean over regions with calcium (both walls)",
    "dice_pooled": "Dice, all pixels pooled",
    "grade_agreement_pct": "segments with the truth's grade, %",
    "total_mae": "mean absolute error of the total 0..24",
    "zero_kept_pct": "regions without calcium that get total 0, %",
}

PURPOSE = {
    "locate": """Finds the corners of T12 to S1 by name in a lateral picture of the lumbar spine (radiograph or bone-density image), and
says whether the picture is one. A shape model then estimates where the aorta runs.""",
    "segment": """Marks calcification of the anterior and of the posterior wall of the abdominal aorta in the warped region in front of
L1 to L4. Grades and the 24-point score are counted from the marks, not predicted by the network.""",
}

ARCHITECTURE = {
    "locate": """U-net with residual blocks. The picture and its local contrast are folded 4 x 4 into 32 channels; encoder to stride 64 (8 x 4 cells), decoder back to
stride 4; widths in `pipelines/training/networks.py`. Loss: binary cross-entropy on the heatmaps, weighted towards the peaks,
plus a small cross-entropy of place for each corner in the picture, plus cross-entropy of the view. Corners outside the picture
and all corners of other views have an empty heatmap as target.""",
    "segment": """U-net with residual blocks on the region and its local contrast folded 2 x 2 into 8 channels; widths in `pipelines/training/networks.py`. Loss: weighted
binary cross-entropy plus soft Dice per wall, on what a reader could see (`visible` truth), valid pixels only.""",
}

SETTINGS = {
    "locate": "its hardest settings (`Config::training`) and at those of `pipelines/training/radiographs.toml`",
    "segment": "its hardest settings (`Config::training`)",
}

LIMITS = {
    "locate": """- Never shown a real picture in training. On real films it must be looked at before it is believed.
- Levels are named from the sacrum and the ribs. Transitional vertebrae (L6, sacralised L5) are not simulated.
- Pictures are reduced to 256 x 512: in a wide radiograph a vertebra is less than 20 pixels high, which limits precision.
- The validation pictures are made as hard as the training pictures. Most of the mean error comes from those with the levels named one
  off: pictures that cut off the sacrum, or show the spine very small or buried in noise. `aortica evaluate` measures ordinary ones.""",
    "segment": """- Never shown a real picture in training. What calcium, bowel gas, end plates and osteophytes look like is what the simulator draws.
- Follows the region it is given: wrong corners give a wrong region and a confident answer about the wrong place.
- Plaque on the lateral walls belongs to neither wall and is not marked.""",
}


def card(network: str, facts: dict) -> str:
    validation = {name: value for name, value in facts["validation"].items() if name in METRICS}
    rows = "\n".join(f"| {METRICS[name]} | {value} |" for name, value in validation.items())
    seeds = f"\n{facts['seeds']}\n" if facts["seeds"] else "\n"
    return f"""# Model card: {network} {facts["version"]}

**Trained on simulated images only. Not a medical device; not for diagnosis or for decisions about a patient.**

## What it does
{PURPOSE[network]}

Tensors, axes and ranges: `{network}.toml`. SHA-256 of `{network}.onnx`: `{facts["digest"]}`.

## How it is built
{ARCHITECTURE[network]}

{facts["parameters"]:,} parameters, {facts["gflop"]} GFLOP a picture (two per multiplication). PyTorch, AdamW, bfloat16 autocast on CPU; the
exported weights are the exponential moving average, in 32 bit.

## Training data
Pictures of the simulator (`crates/phantom`) at {SETTINGS[network]}, changed further by
`crates/learning/src/augment.rs`: turned, mirrored, cut, aspect mistaken by .7 to 1.4, exposure, curves, blur, noise, compression, things
in the way. {facts["step"]:,} steps, {facts["samples"]:,} samples drawn from {facts["distinct_samples"]:,} distinct ones.{seeds}
## Results on unseen simulated pictures
Training settings, augmented; other seed than the training set. The case mix is the simulator's: these numbers must not be
compared with results on patients.

| measure | value |
|---|---|
{rows}

## Limits
{LIMITS[network]}

## Other arithmetic
The same weights lie beside this file in int8 (for processors, calibrated on 64 training samples; weights of seven bits a channel,
activations of eight bits a tensor; input contrast and last layer in fp32) and in fp16 (for graphics cards). How far readings
change: `tests/prove/precision.json`.

## Train it on your own pictures
Write your annotated pictures as shards in the layout of `aortica-learning training-set` (`pipelines/training/README.md`), give the folder to
`pipelines/training/{network}.py --shards .. --checkpoint ..`, then run `pipelines/training/export.py`. The program takes any ONNX file whose tensors
fit the manifest.
"""
