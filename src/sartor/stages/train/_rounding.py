"""Products that are rounded in training as int8 rounds them (fake quantisation). Needs torch; import it lazily.

What is rounded is what ``int8-static`` rounds in a file: weights of convolutions and linear layers, symmetric and per
output channel, and their inputs, asymmetric and per tensor. So a batch norm behind a convolution need not be folded
first: it scales whole channels, and their grids with them.

Source: Jacob et al. 2018, arXiv:1712.05877, section 3; Krishnamoorthi 2018, arXiv:1806.08342, section 3; Nagel et al.
2021, arXiv:2106.08295, section 4 (straight-through estimator, static batch norms).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 255  # steps of an activation's grid
_LARGEST = {8: 127, 7: 64}  # of a weight's grid, as ONNX Runtime has them
_TINY = torch.finfo(torch.float32).tiny


def simulate(module: nn.Module, bits: int) -> None:
    """Let a module round its products from now on, in training and in evaluation, in place; its state stays as it is.

    Batch norms keep the statistics that they have: a file has them folded into weights. Embeddings and recurrences stay
    float, as in the file.

    Args:
        module: trained.
        bits: of weights, 8 or 7.
    """
    for part in module.modules():
        kind: Any = type(part)  # of the same object: it keeps parameters, buffers and hooks
        if isinstance(part, (nn.Linear, nn.modules.conv._ConvNd)):
            part.__class__ = _rounding_kind(kind, bits)
        elif isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.__class__ = _settled_kind(kind)
            part.eval()


def rounded_weight(weight: Tensor, bits: int, axis: int) -> Tensor:
    """A weight on the symmetric grids of its channels along ``axis``, whose ends are the largest; straight through.

    Args:
        weight: fp32, of any shape.
        bits: 8 or 7.
        axis: of output channels.
    """
    most = _LARGEST[bits]
    others = [side for side in range(weight.ndim) if side != axis]
    scale = (weight.detach().abs().amax(others) / most).clamp_min(_TINY)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    found: Tensor = torch.fake_quantize_per_channel_affine(weight, scale, zero, axis, -most, most)
    return found


def rounded_input(x: Tensor) -> Tensor:
    """Activations (fp32, any shape) on a grid of 256 values over their range, which holds 0; straight through.

    The range is that of the batch at hand. The file's comes from calibration samples; weights that bear the one of
    every batch bear that too, and there is no state that ranks and resumed trainings would have to agree on.
    """
    low, high = x.detach().aminmax()
    low, high = low.clamp_max(0.0), high.clamp_min(0.0)
    scale = ((high - low) / _LEVELS).clamp_min(_TINY)
    zero = (-low / scale).round().clamp(0, _LEVELS).to(torch.int32)
    found: Tensor = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, _LEVELS)
    return found


@cache
def _rounding_kind(kind: Any, bits: int) -> type:
    transposed = issubclass(kind, nn.modules.conv._ConvTransposeNd)

    def weight(self: Any) -> Tensor:
        return rounded_weight(self._parameters["weight"], bits, int(transposed))

    def forward(self: Any, x: Tensor, *more: Any, **named: Any) -> Any:
        return kind.forward(self, rounded_input(x), *more, **named)

    own = {"weight_bits": bits, "weight": property(weight), "forward": forward}
    return type(f"Rounding{kind.__name__}", (kind,), own)


@cache
def _settled_kind(kind: Any) -> type:
    def train(self: Any, mode: bool = True) -> Any:
        return kind.train(self, False)

    return type(f"Settled{kind.__name__}", (kind,), {"train": train})
