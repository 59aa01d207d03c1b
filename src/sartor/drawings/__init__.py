"""Made-up graphs of many families, drawn from a seed: what a device is calibrated on."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sartor.drawings import _kernels, _pictures, _sequences
from sartor.drawings._drawing import TOKENS, TooLarge

if TYPE_CHECKING:
    import numpy as np

__all__ = ["KERNELS", "NETWORKS", "TOKENS", "at_batch", "draw"]

Family = Callable[["np.random.Generator"], Any]

NETWORKS: Mapping[str, Family] = {
    **{
        one.__name__: one
        for one in (
            *(_pictures.resnet, _pictures.resnext, _pictures.plain, _pictures.mobile, _pictures.efficient),
            *(_pictures.convnext, _pictures.densenet, _pictures.unet, _pictures.detector),
        )
    },
    **{
        one.__name__: one
        for one in (
            *(_sequences.keywords, _sequences.waves, _sequences.mlp, _sequences.lstm, _sequences.gru, _sequences.vit),
            *(_sequences.bert, _sequences.mixer, _sequences.text_cnn, _sequences.items, _sequences.trees),
        )
    },
}
"""Families of whole networks."""

KERNELS: Mapping[str, Family] = {
    one.__name__: one
    for one in (
        *(_kernels.convolutions, _kernels.products, _kernels.elementwise, _kernels.maps, _kernels.attentions),
        *(_kernels.recurrences, _kernels.look_ups),
    )
}
"""Graphs of one kind of kernel."""


def draw(family: str, number: int) -> Any:
    """The ONNX model of a family's graph, at batch 1; the same for the same number, on every machine.

    The batch is the first dimension of the input and stands nowhere else.

    Example:
        >>> draw("mlp", 0).graph.input[0].name
        'input'
    """
    import numpy as np

    for attempt in itertools.count():
        chance = np.random.default_rng([zlib.crc32(family.encode()), number, attempt])
        try:
            return {**NETWORKS, **KERNELS}[family](chance)
        except TooLarge:
            continue
    raise AssertionError("there is no last attempt")


def at_batch(model: Any, batch: int) -> Any:
    """The model, with another batch, in place."""
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    return model
