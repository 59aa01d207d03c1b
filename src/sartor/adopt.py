"""Takes in an ONNX file from elsewhere as an image classifier: uint8 pictures in, probabilities out.

What the file does not say is assumed, and every assumption is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sartor.errors import SartorError
from sartor.modelfile import check_model

NORMALISATIONS = {
    # (x / 255 - mean) / std per channel; ImageNet's figures are what most published classifiers were trained with.
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
_Layout = Literal["uint8 NHWC", "float NCHW", "float NHWC"]


@dataclass(frozen=True)
class Adopted:
    """A file that runs like one of ours.

    Args:
        input_size: (H, W).
        batch: static batch size.
        outputs: number of classes.
        int8: True where the graph is quantised already.
        assumptions: a sentence for each.
    """

    input_size: tuple[int, int]
    batch: int
    outputs: int
    int8: bool
    assumptions: tuple[str, ...]


def adopt(source: Path, target: Path, *, size: tuple[int, int] | None = None, normalise: str = "imagenet") -> Adopted:
    """Write ``source`` to ``target`` with what is missing added to its graph.

    Args:
        source: an ``.onnx`` file with one picture input: uint8 NHWC, or float32 NCHW or NHWC.
        target: where the adopted file goes.
        size: (H, W), where the file leaves it open.
        normalise: a key of :data:`NORMALISATIONS`, for float inputs.

    Raises:
        Refused: the file is unsafe to load.
        SartorError: its input or output is not that of an image classifier.
    """
    import onnx

    check_model(source)
    model = onnx.load(source, load_external_data=False)
    given = _input(model, source)
    layout, batch, height, width = _shape(given, source, size)
    assumptions: list[str] = []
    _fix_shape(given, layout, batch, height, width)
    if layout != "uint8 NHWC":
        mean, std = NORMALISATIONS[normalise]
        _put_before(model, given, layout, (batch, height, width), mean, std)
        assumptions.append(f"its input is RGB scaled to 0..1, then normalised as {normalise!r} (--normalise)")
    outputs = _put_after(model, source, batch, assumptions)
    int8 = any(node.op_type in ("QuantizeLinear", "QLinearConv", "QLinearMatMul") for node in model.graph.node)
    target.write_bytes(model.SerializeToString())
    try:
        onnx.checker.check_model(str(target))
    except onnx.checker.ValidationError as error:
        raise SartorError(f"{source.name} is not a valid ONNX model: {str(error).splitlines()[0]}") from None
    return Adopted((height, width), batch, outputs, int8, tuple(assumptions))


def _input(model: Any, source: Path) -> Any:
    constants = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in constants]
    if len(given) != 1:
        names = ", ".join(value.name for value in given) or "none"
        raise SartorError(f"{source.name} must have one input, a batch of pictures, but has: {names}")
    return given[0]


def _shape(given: Any, source: Path, size: tuple[int, int] | None) -> tuple[_Layout, int, int, int]:
    """Layout, batch, height and width of the input."""
    import onnx

    tensor = given.type.tensor_type
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in tensor.shape.dim]
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
    found = f"{kind.lower()} {[dim or '?' for dim in dims]}"
    layout: _Layout
    if len(dims) == 4 and kind == "UINT8" and dims[3] == 3:
        layout, batch, height, width = "uint8 NHWC", dims[0], dims[1], dims[2]
    elif len(dims) == 4 and kind == "FLOAT" and dims[1] == 3:
        layout, batch, height, width = "float NCHW", dims[0], dims[2], dims[3]
    elif len(dims) == 4 and kind == "FLOAT" and dims[3] == 3:
        layout, batch, height, width = "float NHWC", dims[0], dims[1], dims[2]
    else:
        raise SartorError(
            f"{source.name} takes {found}; a bare file is measured as an image classifier only, uint8 "
            "(batch, H, W, 3) or float (batch, 3, H, W): give a package for other tasks"
        )
    if not height or not width:
        if size is None:
            raise SartorError(f"{source.name} takes {found} and leaves the picture's size open. Try: --size 224x224")
        height, width = height or size[0], width or size[1]
    return layout, batch or 1, height, width


def _fix_shape(given: Any, layout: _Layout, batch: int, height: int, width: int) -> None:
    sizes = (batch, 3, height, width) if layout == "float NCHW" else (batch, height, width, 3)
    for dim, value in zip(given.type.tensor_type.shape.dim, sizes, strict=True):
        dim.dim_value = value


def _put_before(
    model: Any,
    given: Any,
    layout: _Layout,
    shape: tuple[int, int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> None:
    """Cast, normalise and, for NCHW, transpose pictures in front of the graph."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    batch, height, width = shape
    scale = 1.0 / (255.0 * np.array(std, np.float32))
    shift = -np.array(mean, np.float32) / np.array(std, np.float32)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(scale.astype(np.float32), "sartor_scale"),
            numpy_helper.from_array(shift, "sartor_shift"),
        ]
    )
    last = "sartor_normalised" if layout == "float NCHW" else given.name
    nodes = [
        helper.make_node("Cast", ["sartor_input"], ["sartor_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sartor_float", "sartor_scale"], ["sartor_scaled"]),
        helper.make_node("Add", ["sartor_scaled", "sartor_shift"], [last]),
    ]
    if layout == "float NCHW":
        nodes.append(helper.make_node("Transpose", [last], [given.name], perm=[0, 3, 1, 2]))
    body = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *body])
    picture = helper.make_tensor_value_info("sartor_input", TensorProto.UINT8, [batch, height, width, 3])
    others = [value for value in model.graph.input if value.name != given.name]
    del model.graph.input[:]
    model.graph.input.extend([picture, *others])


def _put_after(model: Any, source: Path, batch: int, assumptions: list[str]) -> int:
    """Keep the first output and make probabilities of it; returns the number of classes."""
    import onnx
    from onnx import TensorProto, helper

    inferred = onnx.shape_inference.infer_shapes(model).graph.output[0]
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in inferred.type.tensor_type.shape.dim]
    if inferred.type.tensor_type.elem_type != TensorProto.FLOAT or len(dims) != 2 or dims[1] < 2:
        raise SartorError(
            f"{source.name} gives {[dim or '?' for dim in dims]}; an image classifier gives float (batch, classes)"
        )
    if len(model.graph.output) > 1:
        assumptions.append(f"only its first output {inferred.name!r} is used")
    name = inferred.name
    maker = next((node for node in model.graph.node if name in node.output), None)
    if maker is None or maker.op_type != "Softmax":
        model.graph.node.append(helper.make_node("Softmax", [name], ["sartor_probabilities"], axis=1))
        assumptions.append(f"its output {name!r} is logits, made probabilities by a softmax")
        name = "sartor_probabilities"
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, dims[1]]))
    return int(dims[1])


def parse_size(text: str) -> tuple[int, int]:
    """``224`` or ``224x320`` (height × width) in pixels.

    Raises:
        SartorError: anything else.
    """
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) in (1, 2) and all(part.isascii() and part.isdecimal() and 1 <= int(part) <= 10_000 for part in parts):
        return int(parts[0]), int(parts[-1])
    raise SartorError(f"--size is {text!r}; it must be height x width in pixels. Try: --size 224x224")
