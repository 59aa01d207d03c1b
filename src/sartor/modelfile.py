"""Looks at a model file before any runtime may: what could read outside its folder, run code or explode is refused.

The rule is an allow-list: a regular file that nothing else links to, standard operators, weights inside the file.
What is promised: no read outside the file, no unknown operator, no absurd size that the file itself shows.
What is not: a bound on the time of a graph whose sizes depend on its input, which is why models run in child processes.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sartor.errors import Refused
from sartor.modeltrees import TREES, check_trees

MAX_BYTES = 1 << 30  # protobuf itself ends at 2^31
MAX_ELEMENTS = 1 << 27  # of one tensor: 512 MiB as float32
MAX_NODES = 100_000
MAX_TRIPS = 10_000  # of a loop, nested loops multiplied
MAX_DEPTH = 16  # of graphs within graphs
MAX_ATTRIBUTE_VALUES = 1 << 24  # of one list in a node: nodes of trees, coefficients
MAX_HEADER_BYTES = 100_000_000  # of safetensors, its own limit

_MICROSOFT_NAMES = (
    # What quantisation and ONNX Runtime's own optimiser write. EPContext is not here: it names other files.
    "QuantizeLinear DequantizeLinear QLinearAdd QLinearMul QLinearConv QLinearConcat QLinearWhere QLinearSoftmax "
    "QLinearSigmoid QLinearLeakyRelu QLinearReduceMean QLinearAveragePool QLinearGlobalAveragePool QGemm QAttention "
    "QEmbedLayerNormalization DynamicQuantizeMatMul DynamicQuantizeLSTM MatMulIntegerToFloat MatMulInteger16 "
    "MatMulNBits NhwcMaxPool FusedConv FusedGemm FusedMatMul Gelu BiasGelu FastGelu QuickGelu BiasSplitGelu "
    "LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization EmbedLayerNormalization Attention "
    "MultiHeadAttention GroupNorm ReorderInput ReorderOutput"
)
_MICROSOFT = frozenset(_MICROSOFT_NAMES.split())
_CLASSICAL_NAMES = (
    "ArrayFeatureExtractor Binarizer Imputer LabelEncoder LinearClassifier LinearRegressor Normalizer OneHotEncoder "
    "Scaler TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor"
)
_CLASSICAL = frozenset(_CLASSICAL_NAMES.split())
"""Of ai.onnx.ml: tables and trees held in attributes, evaluated without reading or calling anything else."""

_FURTHER = {"com.microsoft": _MICROSOFT, "ai.onnx.ml": _CLASSICAL}

_SAFETENSORS_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


def check_model(path: Path) -> None:
    """Refuse a model file that must not reach a runtime.

    Formats: ``.onnx``, ``.safetensors``. Reads the file once; base install only.

    Raises:
        Refused: with what was found, where in the file, and what would be right.
    """
    content = read_regular(path)
    if path.suffix == ".onnx":
        _check_onnx(path.name, content)
    elif path.suffix == ".safetensors":
        _check_safetensors(path.name, content)
    else:
        raise Refused(f"{path.name} is not a model format that is loaded here; give a .onnx or .safetensors file")


def read_regular(path: Path) -> bytes:
    """Bytes of a regular file with one name, read through one handle so that nothing is swapped in between.

    Raises:
        Refused: it is a link, a device, too large, or not there.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise Refused(f"{path} is a symbolic link; give the model file itself") from None
        raise Refused(f"{path} cannot be read ({error.strerror})") from None
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        os.close(handle)
        raise Refused(f"{path} is not a regular file; give the model file itself")
    with open(handle, "rb") as file:
        if facts.st_nlink != 1:
            raise Refused(f"{path} has {facts.st_nlink} hard links; copy it, so that only this name leads to it")
        if facts.st_size > MAX_BYTES:
            raise Refused(f"{path} has {facts.st_size:,} bytes; at most {MAX_BYTES:,} are loaded")
        return file.read(MAX_BYTES + 1)


# ------------------------------------------------------------------------------------------------------- ONNX


def _check_onnx(name: str, content: bytes) -> None:
    import onnx

    try:
        model = onnx.load_model_from_string(content)
    except Exception:  # protobuf's own errors differ by its version and back end
        raise Refused(f"{name} is not an ONNX model, or it is damaged") from None
    if not model.HasField("graph") or not model.graph.output:
        raise Refused(f"{name} holds no ONNX graph with an output")
    _check_versions(name, model)
    if model.functions:
        function = model.functions[0]
        raise Refused(f"{name} defines its own function {_call(function.domain, function.name)}; export it inlined")
    if model.training_info:
        raise Refused(f"{name} carries training graphs; export it for inference")
    if any(entry.key == "ort_config" for entry in model.metadata_props):
        raise Refused(f"{name} carries session options for ONNX Runtime (metadata ort_config); remove them")
    _Graphs(name).check(model.graph, trips=1, depth=0, known={})
    _check_inferred_shapes(name, model)


def _check_versions(name: str, model: Any) -> None:
    """Refuse a file newer than the installed onnx, whose operators may mean something else by then."""
    import onnx

    if model.ir_version > onnx.IR_VERSION:
        raise Refused(
            f"{name} is of ONNX's format {model.ir_version}; onnx {onnx.__version__} here reads up to "
            f"{onnx.IR_VERSION}. Export it with an older onnx, or install a newer one"
        )
    newest = onnx.defs.onnx_opset_version()
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset > newest:
        raise Refused(
            f"{name} is written in opset {opset}; onnx {onnx.__version__} here knows up to {newest}. Export it with "
            f"opset_version={newest} or less"
        )


def _call(domain: str | bytes, operator: str | bytes) -> str:
    """An operator's full name on one printable line; protobuf gives bytes where a string is not UTF-8."""
    text = f"{domain!s}.{operator!s}" if domain else str(operator)
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class _Graphs:
    """One walk over a model's graph and the graphs within it."""

    def __init__(self, name: str) -> None:
        self.name, self.nodes = name, 0

    def check(self, graph: Any, *, trips: int, depth: int, known: Mapping[str, Any]) -> None:
        """``known`` maps names of small constants of the enclosing graphs to their tensors."""
        if depth > MAX_DEPTH:
            raise Refused(f"{self.name} nests graphs more than {MAX_DEPTH} deep")
        known = dict(known)
        for tensor in _tensors(graph):
            self._check_tensor(tensor)
            known[tensor.name] = tensor
        for node in graph.node:
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise Refused(f"{self.name} has more than {MAX_NODES:,} nodes")
            self._check_operator(node)
            self._check_attributes(node)
            if node.op_type in TREES:
                check_trees(self._where(node), node)
            if node.op_type == "Constant" and node.output:
                known[node.output[0]] = _constant(node)
            inner = trips * self._trips(node, known) if node.op_type == "Loop" else trips
            if inner > MAX_TRIPS:
                raise Refused(f"{self._where(node)} runs {inner:,} times; at most {MAX_TRIPS:,} are allowed")
            elements = _elements_made(node, known)
            if elements > MAX_ELEMENTS:
                raise Refused(f"{self._where(node)} makes {elements:,.0f} values; at most {MAX_ELEMENTS:,} are allowed")
            for attribute in node.attribute:
                for subgraph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                    self.check(subgraph, trips=inner, depth=depth + 1, known=known)

    def _where(self, node: Any) -> str:
        label = node.name or (node.output[0] if node.output else "?")
        return f"{self.name}: node {label!r} ({_call(node.domain, node.op_type)})"

    def _check_operator(self, node: Any) -> None:
        import onnx

        standard = node.domain in ("", "ai.onnx") and isinstance(node.op_type, str) and onnx.defs.has(node.op_type)
        if standard or node.op_type in _FURTHER.get(node.domain, frozenset()):
            return
        raise Refused(
            f"{self._where(node)} is not a standard operator; only ai.onnx, tables and trees of ai.onnx.ml, and "
            "quantisation's are loaded"
        )

    def _check_attributes(self, node: Any) -> None:
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                raise Refused(f"{self._where(node)} refers to a function's attribute outside a function")
            values = max(len(attribute.ints), len(attribute.floats), len(attribute.strings))
            if values > MAX_ATTRIBUTE_VALUES:
                raise Refused(
                    f"{self._where(node)} has {values:,} values in {attribute.name!r}; at most "
                    f"{MAX_ATTRIBUTE_VALUES:,} are allowed"
                )
            for tensor in _attribute_tensors(attribute):
                self._check_tensor(tensor)

    def _check_tensor(self, tensor: Any) -> None:
        import onnx

        label = tensor.name or "without a name"
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "?")
            raise Refused(
                f"{self.name}: tensor {label!r} keeps its data in another file ({place!r}); "
                "only models with all weights inside are loaded. Save it again with save_as_external_data=False"
            )
        if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MAX_ELEMENTS:
            raise Refused(f"{self.name}: tensor {label!r} has the shape {_shape(tensor.dims)}; that is not loaded")
        if tensor.raw_data and len(tensor.raw_data) != _raw_bytes(tensor):
            raise Refused(
                f"{self.name}: tensor {label!r} of shape {_shape(tensor.dims)} has {len(tensor.raw_data):,} bytes "
                f"of data; {_raw_bytes(tensor):,} belong there"
            )

    def _trips(self, node: Any, known: Mapping[str, Any]) -> int:
        values = _values(known.get(node.input[0])) if node.input else None
        if not values or not math.isfinite(values[0]):
            raise Refused(f"{self._where(node)} does not say how often it runs; the trip count must be a constant")
        return max(0, int(values[0]))


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _attribute_tensors(attribute: Any) -> Iterator[Any]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for sparse in (*((attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()),):
        yield from (sparse.values, sparse.indices)
    for sparse in attribute.sparse_tensors:
        yield from (sparse.values, sparse.indices)


def _shape(dims: Sequence[int]) -> str:
    return "×".join(str(size) for size in dims) or "()"


def _raw_bytes(tensor: Any) -> int:
    import onnx

    elements: int = math.prod(tensor.dims)
    packed = {"UINT4": 2, "INT4": 2, "FLOAT4E2M1": 2, "UINT2": 4, "INT2": 4}  # values in one byte
    try:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        if kind in packed:
            return -(-elements // packed[kind])
        width: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        return elements * width
    except (KeyError, ValueError, TypeError):
        return -1  # an unknown type never matches


def _constant(node: Any) -> Any:
    """The tensor of a Constant node, or its list of numbers."""
    for attribute in node.attribute:
        if attribute.name == "value":
            return attribute.t
        if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            return [*attribute.ints, *attribute.floats] or [attribute.i or attribute.f]
    return None


def _values(tensor: Any) -> list[float] | None:
    """Numbers of a small constant; None when it is no constant, or too large to be a shape."""
    import onnx

    if tensor is None:
        return None
    if isinstance(tensor, list):
        return [float(value) for value in tensor]
    if math.prod(tensor.dims) > 64:
        return None
    try:
        return [float(value) for value in onnx.numpy_helper.to_array(tensor).ravel()]
    except Exception:  # typed data of the wrong length: the shape says one thing, the data another
        raise Refused(f"tensor {tensor.name!r} has data that do not fit its shape {_shape(tensor.dims)}") from None


def _elements_made(node: Any, known: Mapping[str, Any]) -> float:
    """How many values a node makes at least, as far as its constants show; 0 where they do not."""

    def constant(position: int) -> list[float]:
        name = node.input[position] if position < len(node.input) else ""
        return [abs(value) for value in _values(known.get(name)) or []] if name else []

    attributes = {attribute.name: attribute for attribute in node.attribute}
    operator = node.op_type
    if operator in ("ConstantOfShape", "Expand", "Tile"):
        return _product(constant(0 if operator == "ConstantOfShape" else 1))
    if operator in ("Resize", "Upsample"):
        return max(_product(constant(position)) for position in (1, 2, 3))
    if operator in ("RandomNormal", "RandomUniform"):
        return _product(attributes["shape"].ints) if "shape" in attributes else 0
    if operator == "Pad":
        pads = [*constant(1), *(attributes["pads"].ints if "pads" in attributes else ())]
        return float(max(map(abs, pads), default=0))
    if operator in ("OneHot", "HannWindow", "HammingWindow", "BlackmanWindow"):
        return max(constant(1 if operator == "OneHot" else 0) or [0])
    if operator == "Range":
        start, stop, step = (_values(known.get(name)) for name in (*node.input, "", "", "")[:3])
        return abs((stop[0] - start[0]) / step[0]) if start and stop and step and step[0] else 0
    return 0


def _product(values: Sequence[float]) -> float:
    return float(math.prod(values)) if values else 0.0


def _check_inferred_shapes(name: str, model: Any) -> None:
    """Follow sizes through the graph: many small steps may add up to what no single node shows."""
    import onnx

    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > 1024:
            tensor.ClearField("raw_data")  # shapes do not depend on it, and inference copies the model
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # an inconsistent graph: the runtime says so in its own words
        return
    for value in (*graph.value_info, *graph.input, *graph.output):
        shape = [size.dim_value for size in value.type.tensor_type.shape.dim if size.HasField("dim_value")]
        if math.prod(shape) > MAX_ELEMENTS:
            raise Refused(
                f"{name}: {value.name!r} has the shape {_shape(shape)}; at most {MAX_ELEMENTS:,} values are allowed"
            )


# ------------------------------------------------------------------------------------------------ safetensors


def _check_safetensors(name: str, content: bytes) -> None:
    """Header inside the file, tensors side by side without gap or overlap, sizes that fit their shapes."""
    length = int.from_bytes(content[:8], "little") if len(content) >= 8 else -1
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(content) - 8):
        raise Refused(f"{name} is not a safetensors file: its header does not lie inside the file")
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{name} is not a safetensors file: its header is not valid JSON ({error})") from None
    if not isinstance(header, dict):
        raise Refused(f"{name} is not a safetensors file: its header is not an object")
    header.pop("__metadata__", None)
    end = 0
    for label, begin, stop in sorted(
        (_span(name, label, entry) for label, entry in header.items()), key=lambda x: x[1:]
    ):
        if begin != end:
            raise Refused(f"{name}: tensor {label!r} begins at byte {begin}; {end} would be right, no gaps or overlaps")
        end = stop
    if end != len(content) - 8 - length:
        raise Refused(f"{name} has {len(content) - 8 - length:,} bytes of tensors; its header describes {end:,}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _span(name: str, label: str, entry: Any) -> tuple[str, int, int]:
    """Label, first byte and end of one tensor, checked against its shape."""
    try:
        bits, shape, (begin, stop) = _SAFETENSORS_BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [begin, stop, *shape]
        if any(type(number) is not int or number < 0 for number in numbers) or stop < begin:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise Refused(f"{name}: the header entry of tensor {label!r} is not valid") from None
    if (stop - begin) * 8 != math.prod(shape) * bits:
        raise Refused(f"{name}: tensor {label!r} of shape {_shape(shape)} does not fit its {stop - begin:,} bytes")
    return label, begin, stop
