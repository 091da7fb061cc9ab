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
dtype = "UINT8"
meaning = "255 times, per landmark, a Gaussian of standard deviation 1.5 cells and height 1 at its place, all 0 where it is not in the picture; cell (i, j) is centred on input row 4 i + 1.5, column 4 j + 1.5"
range = [0.0, 255.0]
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
dtype = "UINT8"
meaning = "255 times the probability that a pixel is visible calcification of that wall"
range = [0.0, 255.0]
dims = [
    {{ axis = "batch" }},
    {{ axis = "channel", size = 2 }},
    {{ axis = "row", size = 256, meaning = "head to foot" }},
    {{ axis = "column", size = 128, meaning = "anterior to posterior" }},
]
channels = ["anterior wall", "posterior wall"]
""",
}


MANIFESTS["unet-multi-class"] = MANIFESTS["segment"]
MANIFESTS["unet-binary"] = (
    MANIFESTS["segment"]
    .replace("calcification of the anterior and the posterior aortic wall", "calcification of the aorta, the walls not told apart,")
    .replace("visible calcification of that wall", "visible calcification")
    .replace('{{ axis = "channel", size = 2 }}', '{{ axis = "channel", size = 1 }}')
    .replace('channels = ["anterior wall", "posterior wall"]', 'channels = ["either wall"]')
)

GRADE_INPUTS = {
    "baseline": ("image", 512, 256, "picture centred in the frame, square pixels, 0.5 % to 99.5 % of its grey values stretched to 0..255, bone bright, padding 0; not turned, not mirrored", "as displayed, left to right"),
    "lvlnet": ("spine", 256, 128, "picture around the vertebrae L1 to L4, upright, square pixels, mirrored where anterior is to the right, 1 % to 99 % of its grey values stretched to 0..255, bone bright, 0 outside the image", "anterior to posterior"),
    "lvlcrnet": ("region", 256, 128, "canonical region around the aorta, 64 rows a level from the T12/L1 to the L4/L5 mid-disc, 1 % to 99 % of the greys of its valid pixels stretched to 0..255, bone bright", "anterior to posterior"),
}


def grade_manifest(network: str) -> str:
    name, rows, columns, meaning, across = GRADE_INPUTS[network]
    text = f"""summary = "grades of the eight wall segments as probabilities of exceeding 0, 1 and 2"
precision = "fp32"
gflop_per_row = {{gflop}}

[batch]
preferred = 1
max = 16

[[inputs]]
name = "{name}"
dtype = "UINT8"
meaning = "{meaning}"
range = [0.0, 255.0]
dims = [
    {{{{ axis = "batch" }}}},
    {{{{ axis = "channel", size = 1 }}}},
    {{{{ axis = "row", size = {rows}, meaning = "head to foot" }}}},
    {{{{ axis = "column", size = {columns}, meaning = "{across}" }}}},
]

[[outputs]]
name = "exceeds"
dtype = "FP32"
meaning = "probability that the grade of a segment is above 0, above 1, above 2; never rises from one to the next"
range = [0.0, 1.0]
dims = [
    {{{{ axis = "batch" }}}},
    {{{{ axis = "segment", size = 8, meaning = "L1 anterior, L1 posterior, L2 anterior, .. L4 posterior" }}}},
    {{{{ axis = "threshold", size = 3, meaning = "above 0, above 1, above 2" }}}},
]
"""
    if network == "baseline":
        text += """
[[outputs]]
name = "assessable"
dtype = "FP32"
meaning = "probability that a segment can be assessed in this picture"
range = [0.0, 1.0]
dims = [
    {{ axis = "batch" }},
    {{ axis = "segment", size = 8, meaning = "L1 anterior, L1 posterior, L2 anterior, .. L4 posterior" }},
]

[[outputs]]
name = "view"
dtype = "FP32"
meaning = "probability of each kind of view"
range = [0.0, 1.0]
dims = [{{ axis = "batch" }}, {{ axis = "channel", size = 3 }}]
channels = ["lateral lumbar spine", "frontal spine", "anything else"]
"""
    return text


MANIFESTS |= {network: grade_manifest(network) for network in GRADE_INPUTS}


def manifest(network: str, facts: dict) -> str:
    landmarks = "\n".join(f'    "{name}",' for name in LANDMARKS)
    model = facts["model"]
    return (
        f'name = "{model}"\nversion = "{facts["version"]}"\nfile = "{model}.onnx"\nsha256 = "{facts["digest"]}"\n'
        + MANIFESTS[network].format(gflop=facts["gflop"], landmarks=landmarks)
        + f'\n[golden]\nfile = "{model}.golden.npz"\nabsolute_tolerance = {facts["absolute"]}\n'
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
    "zero_kept_pct": "pictures without calcium that get total 0, %",
    "total_r2": "R² of the total (identity line), pictures in which all segments can be assessed",
    "assessable_pct": "segments rightly called assessable or not, lateral pictures, %",
    "paper_dice_mean": "Dice, mean over regions with calcium (both walls together, as in the paper)",
    "paper_dice_sd": "its standard deviation",
    "paper_jaccard_mean": "Jaccard, mean over the same",
    "paper_accuracy_pct": "pixels right, mean over the same, %",
}

PURPOSE = {
    "locate": """Finds the corners of T12 to S1 by name in a lateral picture of the lumbar spine (radiograph or bone-density image), and
says whether the picture is one. A shape model then estimates where the aorta runs.""",
    "segment": """Marks calcification of the anterior and of the posterior wall of the abdominal aorta in the warped region in front of
L1 to L4. Grades and the 24-point score are counted from the marks, not predicted by the network.""",
    "unet-multi-class": """Marks calcification of the anterior and of the posterior wall in the warped region, as the multi-class U-net of Chaplin and Cootes
(section 2.4). It is here to be compared with; `segment` of `vfa-unet` is ours.""",
    "unet-binary": """Marks calcification in the warped region without telling the walls apart, as the binary U-net of Chaplin and Cootes (section 2.3).
The walls are told apart afterwards by the midline. It is here to be compared with; `segment` of `vfa-unet` is ours.""",
    "baseline": """Grades the eight segments from the whole picture, without locating anything: the first comparator of LVLCRNet. It also says what kind of
view the picture is and which segments can be assessed, because nothing else in its pipeline could.""",
    "lvlnet": """Grades the eight segments from the picture around the located vertebrae: the second comparator of LVLCRNet (localisation and a plain
head).""",
    "lvlcrnet": """Grades the eight segments from the straightened region around the aorta, after LVLCRNet: localisation of the vertebrae, aortic region, a
contrastive rank-aware encoder, an ordinal head. Of LVLCRNet only the abstract is public: losses, cut-offs and layers here are ours and must
not be presented as those of its authors.""",
}

ARCHITECTURE = {
    "locate": """U-net with residual blocks. The picture and its local contrast are folded 4 x 4 into 32 channels; encoder to stride 64 (8 x 4 cells), decoder back to
stride 4; widths in `pipelines/training/networks.py`. Loss: binary cross-entropy on the heatmaps, weighted towards the peaks,
plus a small cross-entropy of place for each corner in the picture, plus cross-entropy of the view. Corners outside the picture
and all corners of other views have an empty heatmap as target.""",
    "segment": """U-net with residual blocks on the region and its local contrast folded 2 x 2 into 8 channels; widths in `pipelines/training/networks.py`. Loss: weighted
binary cross-entropy plus soft Dice per wall, on what a reader could see (`visible` truth), valid pixels only.""",
    "unet-multi-class": """U-net of four levels and a bottom, two 3 x 3 convolutions a level with batch normalisation and zero padding, dropout .5 between those of the
contracting path; a sigmoid for each wall. Loss: plain binary cross-entropy. The paper prints no width: here the finest level has 8
channels. The bias of the last layer starts at -4.6 (about one pixel in a hundred is calcified); all else is the paper's recipe
(`pipelines/training/unet_paper.py`).""",
    "baseline": """Residual encoder on the picture and its local contrast folded 4 x 4 into 32 channels, down to 8 x 4 cells; one linear layer for grades and
assessability, one for the view. Loss: CORN (ordinal) on the grades, cross-entropies for the others.""",
    "lvlnet": """Residual encoder on the picture and its local contrast folded 2 x 2 into 8 channels, down to 8 x 4 cells; one linear layer. Loss: CORN
(ordinal) on the grades.""",
    "lvlcrnet": """Residual encoder on the region and its local contrast folded 2 x 2 into 8 channels, down to 16 x 8 cells, of which each level has four rows;
the same layers for all levels make a feature of 32 numbers for each wall. Loss: CORN (ordinal) on the grades plus .2 times Rank-N-Contrast on the
features by grade (temperature 2).""",
}
ARCHITECTURE["unet-binary"] = ARCHITECTURE["unet-multi-class"].replace("a sigmoid for each wall", "one sigmoid for both walls")

OURS = """PyTorch, AdamW, bfloat16 autocast on CPU; the
exported weights are the exponential moving average, in 32 bit."""
PAPERS = """PyTorch, Adam at 1e-4, batches of 4, bfloat16 autocast on CPU;
the exported weights are the last ones, in 32 bit."""
OPTIMISER = {"unet-multi-class": PAPERS, "unet-binary": PAPERS}

SETTINGS = {
    "locate": "its hardest settings (`Config::training`) and at those of `pipelines/training/radiographs.toml`",
}
HARDEST = "its hardest settings (`Config::training`)"
CHANGES = {
    "locate": """turned, mirrored, cut, aspect mistaken by .7 to 1.4, exposure, curves, blur, noise, compression, things
in the way""",
}
CHANGES["baseline"] = CHANGES["locate"]
CHANGES_OF_REGIONS = """errors of the corners, aspect mistaken by .75 to 1.33, exposure, curves, blur,
noise, compression, things in the way"""

LIMITS = {
    "locate": """- Never shown a real picture in training. On real films it must be looked at before it is believed.
- Levels are named from the sacrum and the ribs. Transitional vertebrae (L6, sacralised L5) are not simulated.
- Pictures are reduced to 256 x 512: in a wide radiograph a vertebra is less than 20 pixels high, which limits precision.
- The validation pictures are made as hard as the training pictures. Most of the mean error comes from those with the levels named one
  off: pictures that cut off the sacrum, or show the spine very small or buried in noise. `aortica evaluate` measures ordinary ones.""",
    "segment": """- Never shown a real picture in training. What calcium, bowel gas, end plates and osteophytes look like is what the simulator draws.
- Follows the region it is given: wrong corners give a wrong region and a confident answer about the wrong place.
- Plaque on the lateral walls belongs to neither wall and is not marked.""",
    "unet-multi-class": """- Trained once, on the simulator's hardest settings; not the five folds of 195 annotated images of the paper. Its numbers are not a repetition of the
paper's.
- Regions of the simulator are mostly without calcium in most rows; those of the paper all had some.
- Never shown a real picture in training.""",
    "baseline": """- Shows no evidence: no outline, row or length says why a segment has its grade.
- Locates nothing: it cannot name levels, and says which segments it cannot see without saying why.
- Trained once, on few pictures; not the 1,478 radiographs of the paper. Its numbers are not a repetition of the paper's.
- Never shown a real picture in training.""",
    "lvlnet": """- Shows no evidence beyond where the vertebrae are: no outline, row or length says why a segment has its grade.
- Trained once, on few pictures; not the 1,478 radiographs of the paper. Its numbers are not a repetition of the paper's.
- Follows the corners it is given. Never shown a real picture in training.""",
}
LIMITS["unet-binary"] = LIMITS["unet-multi-class"] + "\n- Does not tell the walls apart: where the midline is wrong, so are the grades."
LIMITS["lvlcrnet"] = LIMITS["lvlnet"]

OTHER_ARITHMETIC = """
## Other arithmetic
The same weights lie beside this file in int8 (for processors, calibrated on 64 training samples; weights of seven bits a channel,
activations of eight bits a tensor; input contrast and last layer in fp32) and in fp16 (for graphics cards). How far readings
change: `tests/prove/precision.json`.
"""
PIPELINES = {
    "unet-multi-class": "vfa-unet-paper", "unet-binary": "vfa-unet-binary", "baseline": "baseline", "lvlnet": "lvlnet", "lvlcrnet": "lvlcrnet",
}
HAS_OTHERS = ("locate", "segment")
SCRIPT = {
    "unet-multi-class": "unet_paper.py multi-class", "unet-binary": "unet_paper.py binary", "baseline": "grade.py baseline",
    "lvlnet": "grade.py lvlnet", "lvlcrnet": "grade.py lvlcrnet",
}


SIMULATED_RESULTS = """## Results on unseen simulated pictures
Training settings, augmented; other seed than the training set. The case mix is the simulator's: these numbers must not be
compared with results on patients."""

# Of a network that somebody trained on pictures of their own: what they know of it is theirs to write.
OWN_RESULTS = """## Results on the validation pictures
Each as it is; the network was not fitted to them, but may have been chosen by them."""
OWN_LIMITS = """- Holds for pictures like those above. Whom they show, on which scanners, who annotated them and how well, stands here once it is written.
"""


def card(network: str, facts: dict) -> str:
    validation = {name: value for name, value in facts["validation"].items() if name in METRICS}
    rows = "\n".join(f"| {METRICS[name]} | {value} |" for name, value in validation.items())
    seeds = f"\n{facts['seeds']}\n" if facts["seeds"] else "\n"
    model, script = facts["model"], SCRIPT.get(network, f"{network}.py")
    title = network if network == model else f"{model} of {PIPELINES[network]}"
    others = OTHER_ARITHMETIC if network in HAS_OTHERS else ""
    drawn = f'{facts["step"]:,} steps, {facts["samples"]:,} samples drawn from {facts["distinct_samples"]:,} distinct ones.{seeds}'
    if facts["own_data"]:
        only, results, limits = "", OWN_RESULTS, OWN_LIMITS
        data = f'{facts["own_data"]} {drawn}'
    else:
        only, results = "Trained on simulated images only. ", SIMULATED_RESULTS
        limits = LIMITS[network] + "\n" + others
        changes = CHANGES.get(network, CHANGES_OF_REGIONS)
        data = f"""Pictures of the simulator (`crates/phantom`) at {SETTINGS.get(network, HARDEST)}, changed further by
`crates/learning`: {changes}. {drawn}"""
    return f"""# Model card: {title} {facts["version"]}

**{only}Not a medical device; not for diagnosis or for decisions about a patient.**

## What it does
{PURPOSE[network]}

Tensors, axes and ranges: `{model}.toml`. SHA-256 of `{model}.onnx`: `{facts["digest"]}`.

## How it is built
{ARCHITECTURE[network]}

{facts["parameters"]:,} parameters, {facts["gflop"]} GFLOP a picture (two per multiplication). {OPTIMISER.get(network, OURS)}

## Training data
{data}
{results}

| measure | value |
|---|---|
{rows}

## Limits
{limits}
## Train it on your own pictures
Write your annotated pictures as shards in the layout of `aortica-learning training-set` (`pipelines/training/README.md`), give the folder to
`pipelines/training/{script} --shards .. --checkpoint ..`, then run `pipelines/training/export.py`. The program takes any ONNX file whose tensors
fit the manifest.
"""
