"""Building blocks of networks: every convolution folds with the norm behind it, every shape is fixed at export.

Rules that keep a network cheap to run everywhere: a convolution is directly followed by its batch norm (so that an
export folds the two), activations are ReLU (so that int8 kernels fuse them), pooling has a fixed kernel (adaptive
pooling does not convert to every runtime). This module needs torch; import it inside functions only.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_OPPONENT_COLOURS = (
    (1 / math.sqrt(3), 1 / math.sqrt(3), 1 / math.sqrt(3)),  # lightness
    (1 / math.sqrt(2), 0.0, -1 / math.sqrt(2)),  # red against blue
    (1 / math.sqrt(6), -2 / math.sqrt(6), 1 / math.sqrt(6)),  # green against magenta
)

NORM_EPS = 1e-3
"""Of batch norms. A channel that carries nothing (a chroma filter on grey images) has a variance near 0 and is scaled
by 1/sqrt(eps): with the usual 1e-5 the rounding of bf16 becomes its signal, and the same weights fail in fp32."""

DEAD_SHARE = 1e-3
"""A filter whose output varies less than this share of the liveliest one's sees nothing."""


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, where asked for, ReLU and max pooling; the spatial size is kept before pooling.

    Args:
        kernel: odd side of the filter in pixels.
        groups: 1, or ``inputs`` for a depthwise filter.
        active: ends with ReLU.
        pool: side of a max pooling between norm and ReLU; 1 for none. Pooling first makes the ReLU cheaper and
            changes nothing, as both are monotone.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
        pool: int = 1,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False
        )
        parts["norm"] = nn.BatchNorm2d(outputs, eps=NORM_EPS)
        if pool > 1:
            parts["pool"] = nn.MaxPool2d(pool)
        if active:
            parts["act"] = nn.ReLU()
        super().__init__(parts)


class Residual(nn.Module):
    """``x + body(x)``, with ReLU behind the sum where asked for. ``body`` keeps the shape."""

    def __init__(self, body: nn.Module, *, active: bool = False) -> None:
        super().__init__()
        self.body = body
        self.act = nn.ReLU() if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(x + self.body(x))
        return result


class PatchStem(nn.Sequential):
    """First layer: filters that start as the cosine basis of a patch in opponent colours, each with its negative.

    With the norm behind it this decorrelates and equalises natural image patches much as whitening by the data's
    own patch covariance does (Keller Jordan's airbench, arXiv:2404.00498), but needs no data: the cosine basis is
    near to the principal components of natural images. Filters beyond the basis start random. All are trained.

    Args:
        side: side of a patch in pixels.
        stride: step between patches. With ``side`` 2 and ``stride`` 1 the map loses one row and column.
    """

    def __init__(self, outputs: int, *, side: int, stride: int) -> None:
        convolution = nn.Conv2d(3, outputs, side, stride=stride, bias=False)
        with torch.no_grad():
            basis = patch_basis(side)[: outputs // 2]  # (k, 3, side, side), lowest frequencies first
            count = len(basis)
            convolution.weight[:count] = basis
            convolution.weight[count : 2 * count] = -basis
        super().__init__(
            OrderedDict([("conv", convolution), ("norm", nn.BatchNorm2d(outputs, eps=NORM_EPS)), ("act", nn.ReLU())])
        )


@torch.no_grad()
def revive_dead_filters(module: nn.Module, batch: Tensor) -> int:
    """Start filters of patch stems anew, at random, that see nothing in a batch of data; returns how many.

    A colour filter on grey images has no output but rounding noise, and every norm on the way would amplify it
    towards a signal that differs between precisions and runtimes.

    Args:
        module: a network at its start; torch is seeded.
        batch: normalised training samples (n, 3, h, w).
    """
    revived = 0
    for stem in (part for part in module.modules() if isinstance(part, PatchStem)):
        convolution = stem.get_submodule("conv")
        assert isinstance(convolution, nn.Conv2d)
        spread = convolution(batch).float().std(dim=(0, 2, 3))
        dead = spread < DEAD_SHARE * spread.max()
        count = int(dead.sum())
        if count:
            fresh = torch.randn(count, *convolution.weight.shape[1:])
            norms = fresh.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            convolution.weight[dead] = (fresh / norms).to(convolution.weight)
            revived += count
    return revived


def patch_basis(side: int) -> Tensor:
    """Orthonormal basis of (3, side, side) patches, (3·side², 3, side, side), from coarse to fine.

    Two-dimensional cosines (DCT-II) times opponent colours; lightness comes before colour at equal frequency.
    """
    positions = torch.arange(side, dtype=torch.float64) + 0.5
    waves = torch.stack([torch.cos(math.pi / side * frequency * positions) for frequency in range(side)])
    waves = waves / waves.norm(dim=1, keepdim=True)
    colours = torch.tensor(_OPPONENT_COLOURS, dtype=torch.float64)
    order = sorted(
        (row + column, colour, row, column) for row in range(side) for column in range(side) for colour in range(3)
    )
    patches = [
        colours[colour][:, None, None] * waves[row][None, :, None] * waves[column][None, None, :]
        for _, colour, row, column in order
    ]
    return torch.stack(patches).to(torch.float32)


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter depthwise, project by 1x1 without activation; adds its input where the shape allows.

    Source: Sandler et al. 2018, arXiv:1801.04381. ReLU in place of ReLU6, and a depthwise filter with max pooling in
    place of a strided one, whose gradient takes ten times as long in oneDNN.

    Args:
        pool: side of the max pooling behind the depthwise filter; 1 for none.
    """

    def __init__(self, inputs: int, outputs: int, *, expansion: int, pool: int = 1, kernel: int = 3) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [ConvNorm(inputs, hidden, 1)]
        self.body = nn.Sequential(
            *expand,
            ConvNorm(hidden, hidden, kernel, groups=hidden, pool=pool),
            ConvNorm(hidden, outputs, 1, active=False),
        )
        self.adds = pool == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x)
        return x + result if self.adds else result


def depthwise_mixer(width: int, *, kernel: int, expansion: int) -> Residual:
    """A ConvNeXt block with what folds and quantises: depthwise filter, 1x1 expand with ReLU, 1x1 project, residual.

    Source: Liu et al. 2022, arXiv:2201.03545, with batch norm behind every convolution in place of one layer norm
    and of layer scale, ReLU in place of GELU.
    """
    return Residual(
        nn.Sequential(
            ConvNorm(width, width, kernel, groups=width, active=False),
            ConvNorm(width, width * expansion, 1),
            ConvNorm(width * expansion, width, 1, active=False),
        )
    )


class PooledHead(nn.Sequential):
    """Fixed pooling of the whole map, (b, channels, h, w) to (b, channels), then a linear layer.

    Args:
        area: height and width of the map.
        by: ``mean`` or ``max``.
    """

    def __init__(self, channels: int, outputs: int, area: tuple[int, int], *, by: str = "mean") -> None:
        pool = nn.MaxPool2d(area) if by == "max" else nn.AvgPool2d(area)
        super().__init__(
            OrderedDict([("pool", pool), ("flat", nn.Flatten()), ("linear", nn.Linear(channels, outputs))])
        )


class Shrink(nn.Module):
    """Average pooling to at most ``limit`` pixels a side, then flattened: (b, 3, h, w) to (b, ``features``)."""

    def __init__(self, input_size: Sequence[int], limit: int) -> None:
        super().__init__()
        height, width = input_size
        down, across = math.ceil(height / limit), math.ceil(width / limit)
        self.features = 3 * (height // down) * (width // across)
        self.pool = nn.AvgPool2d((down, across)) if max(down, across) > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(x)
        return pooled.flatten(1)


def start_as_identity(block: nn.Module) -> None:
    """Let the first filters of a block's convolution pass their input on (partial Dirac initialisation).

    Source: the airbench recipe, arXiv:2404.00498 section 3.2.
    """
    weight = block.get_parameter("conv.weight")  # (outputs, inputs, kernel, kernel)
    nn.init.dirac_(weight[: weight.shape[1]])
