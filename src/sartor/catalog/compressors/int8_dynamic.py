"""Products in 8 bits whose activations get their range anew at each call: nothing is calibrated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.options import settings_of
from sartor.catalog.compressors.parts.qdq import prepare, suiting
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

PRODUCTS = frozenset({"MatMul", "Gemm"})
TABLES = frozenset({"Gather"})
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Args:
        per_channel: one scale per output of a matrix.
        reduce_range: 7-bit weights, for x86 without dot products of bytes, whose 16-bit sums would saturate.
    """

    per_channel: bool = True
    reduce_range: bool = False


@register("compressors", "int8-dynamic")
class Int8Dynamic:
    """Dynamic quantisation of matrix products and of the tables that are looked up; convolutions stay as they are.

    The range of a product's activations is that of the call, over all its samples. So no call holds what calibration
    did not see; finding ranges costs a pass over the activations, and one large number still takes the range of all.

    Source: Zafrir et al. 2019, arXiv:1910.06188, section 4.3 (dynamic quantisation of transformers).
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "int8-dynamic"
    needs_products = True
    weight_bytes = 1.0
    extra = ""
    provenance = Provenance(
        source="https://github.com/microsoft/onnxruntime", licence="MIT", paper="https://arxiv.org/abs/1910.06188"
    )

    def options(self, device: Device) -> Options:
        """Options that suit a device: weights that are exact on its instruction sets."""
        return {name: value for name, value in suiting(device).items() if name == "reduce_range"}

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> None:
        """Quantise the products of the ONNX file ``source`` into ``target``.

        Args:
            source: any graph.
            target: written whole.
            calibration: unused.
            options: see :class:`Settings`.
            seed: unused.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NOTHING_TO_QUANTISE`` where most products are convolutions;
                ``QUANTISATION_FAILED``.
        """
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        settings = settings_of("int8-dynamic", Settings, options)
        require_matrices(onnx.load(source).graph)
        with TemporaryDirectory(dir=target.parent, prefix="quantise-") as folder:
            prepared = Path(folder) / "prepared.onnx"
            try:
                prepare(source, prepared)
                quantize_dynamic(
                    prepared,
                    target,
                    op_types_to_quantize=sorted(PRODUCTS | TABLES),
                    per_channel=settings.per_channel,
                    reduce_range=settings.reduce_range,
                    weight_type=QuantType.QInt8,
                    extra_options={"MatMulConstBOnly": True},
                )
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise Unsupported(
                    "QUANTISATION_FAILED", f"ONNX Runtime cannot quantise this graph: {reason}"
                ) from error


def require_matrices(graph: Any) -> None:
    """Refuse a graph with more convolutions than products with matrices of weights, or with none of these.

    Raises:
        Unsupported: ``NOTHING_TO_QUANTISE``.
    """
    held = {tensor.name for tensor in graph.initializer}
    kinds = [node.op_type for node in graph.node if len(node.input) > 1 and node.input[1] in held]
    matrices = sum(kind in PRODUCTS for kind in kinds)
    if not matrices or matrices < sum(kind in CONVOLUTIONS for kind in kinds):
        raise Unsupported(
            "NOTHING_TO_QUANTISE", "most products of the graph are convolutions, and only those with matrices gain"
        )
