"""The two networks of the pipeline `vfa-unet` and how they see their input.

Both take raw grey values 0..255 and scale them inside the graph, so that a service is handed bytes. Axes are
[batch, channel, row, column]; row 0 is the head end.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

LANDMARKS = 26
VIEWS = 3
LOCATE_SHAPE = (512, 256)
HEATMAP_SHAPE = (128, 64)
SEGMENT_SHAPE = (256, 128)
WALLS = 2


# Side of the window over which the local mean and contrast are taken, pixels, and its step.
WINDOW = 32
WINDOW_STEP = 8
# Added to the local variance (greys -1..1): flat areas stay flat instead of showing their noise.
CONTRAST_FLOOR = 0.003


def see(grey):
    """[N, 1, H, W] grey values 0..255 -> [N, 2, H, W]: the greys as -1..1, and the same free of local brightness and contrast.

    Exposure differs by orders of magnitude between lung, spine and pelvis, and from film to film; the second channel does not
    depend on it.
    """
    x = grey * (2.0 / 255.0) - 1.0
    both = torch.cat([x, x * x], dim=1)
    pad = (WINDOW - WINDOW_STEP) // 2
    pooled = F.avg_pool2d(both, WINDOW, WINDOW_STEP, pad, count_include_pad=False)
    mean, square = F.interpolate(pooled, scale_factor=float(WINDOW_STEP), mode="bilinear", align_corners=False).chunk(2, dim=1)
    contrast = torch.sqrt((square - mean * mean).clamp_min(0.0) + CONTRAST_FLOOR)
    return torch.cat([x, ((x - mean) / contrast).clamp(-4.0, 4.0) * 0.5], dim=1)


class ConvUnit(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU. The normalisation folds into the convolution at export."""

    def __init__(self, inside: int, outside: int, stride: int = 1):
        super().__init__(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = ConvUnit(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return F.relu(x + self.second(self.first(x)))


class Merge(nn.Module):
    """Doubles the resolution of `deep`, brings it to the width of `skip`, and adds the two."""

    def __init__(self, deep: int, skip: int):
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(deep, skip, 1, bias=False), nn.BatchNorm2d(skip))
        self.refine = ConvUnit(skip, skip)

    def forward(self, deep, skip):
        up = F.interpolate(self.narrow(deep), scale_factor=2.0, mode="nearest")
        return self.refine(F.relu(up + skip))


class Locate(nn.Module):
    """Named vertebral corners as heatmaps, and the kind of view.

    The picture and its local contrast are folded 4 x 4 into channels (no grey value is lost and no full-size map is ever held), an encoder goes
    down to stride 64 (8 x 4 cells, which see the sacrum and the ribs at once, so that levels are named from the whole
    picture), and a decoder comes back to stride 4.

    forward: [N, 1, 512, 256] grey values 0..255 -> heatmap logits [N, 26, 128, 64], view logits [N, 3].
    """

    def __init__(self, widths=(32, 48, 64, 96, 128), deep_blocks=2):
        super().__init__()
        self.enter = nn.Sequential(ConvUnit(32, widths[0]), Residual(widths[0]))
        blocks = [1, 2, 2, deep_blocks]
        self.down = nn.ModuleList(
            nn.Sequential(ConvUnit(a, b, 2), *[Residual(b) for _ in range(n)])
            for a, b, n in zip(widths[:-1], widths[1:], blocks)
        )
        self.up = nn.ModuleList(Merge(b, a) for a, b in reversed(list(zip(widths[:-1], widths[1:]))))
        self.heads = nn.Conv2d(widths[0], LANDMARKS, 1)
        self.view = nn.Linear(widths[-1], VIEWS)
        nn.init.normal_(self.heads.weight, std=0.01)
        nn.init.constant_(self.heads.bias, -6.0)

    def forward(self, image):
        skips = [self.enter(F.pixel_unshuffle(see(image), 4))]
        for down in self.down:
            skips.append(down(skips[-1]))
        y = skips.pop()
        view = self.view(y.mean(dim=(2, 3)))
        for up in self.up:
            y = up(y, skips.pop())
        return self.heads(y), view


class Segment(nn.Module):
    """U-net (after Chaplin & Cootes, section 2.6; residual, two output channels with a sigmoid each).

    The region and its local contrast are folded 2 x 2 into channels on the way in and unfolded on the way out, which keeps each pixel its own
    answer at a quarter of the work.

    forward: [N, 1, 256, 128] grey values 0..255 -> calcification logits [N, 2, 256, 128] (anterior, posterior wall).
    """

    def __init__(self, widths=(32, 48, 64, 96, 96), dropout=0.1):
        super().__init__()
        self.enter = nn.Sequential(ConvUnit(8, widths[0]), Residual(widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(ConvUnit(a, b, 2), Residual(b)) for a, b in zip(widths[:-1], widths[1:])
        )
        self.dropout = nn.Dropout2d(dropout)
        self.up = nn.ModuleList(Merge(b, a) for a, b in reversed(list(zip(widths[:-1], widths[1:]))))
        self.heads = nn.Conv2d(widths[0], WALLS * 4, 3, 1, 1)
        nn.init.normal_(self.heads.weight, std=0.01)
        nn.init.constant_(self.heads.bias, -4.0)

    def forward(self, region):
        skips = [self.enter(F.pixel_unshuffle(see(region), 2))]
        for down in self.down:
            skips.append(down(skips[-1]))
        y = self.dropout(skips.pop())
        for up in self.up:
            y = up(y, skips.pop())
        return F.pixel_shuffle(self.heads(y), 2)


def gflop(network: nn.Module, shape) -> float:
    """Floating-point operations of one image in units of 1e9: two a multiplication in convolutions and linear maps."""
    total = 0

    def count(module, inputs, output):
        nonlocal total
        if isinstance(module, nn.ConvTranspose2d):
            kernel = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            total += 2 * kernel * inputs[0].numel()
        elif isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1] * module.in_channels // module.groups
            total += 2 * kernel * output.numel()
        elif isinstance(module, nn.Linear):
            total += 2 * module.in_features * output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules()]
    was_training = network.training
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, 1, *shape))
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return total / 1e9
