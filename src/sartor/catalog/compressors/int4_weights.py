"""Matrices of weights in 4 bits, the other large weights in 8, arithmetic in 32: a file of an eighth of the size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.blocks import OPSET, matrices_of, store_in_blocks
from sartor.catalog.compressors.parts.small_weights import store_in_bytes
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

LEAST_SAVING = 0.1  # of the file
LEAST_PART = 0.1  # of a network's weights have to be in such matrices


@register("compressors", "int4-weights")
class Int4Weights:
    """Weight-only quantisation of matrices, symmetric, a scale per 32 inputs of an output.

    Nothing is calibrated and no activation is rounded. Matrices become floats as they are multiplied (ONNX Runtime:
    MatMulNBits; OpenVINO: its products with compressed weights), from the standard's own DequantizeLinear by blocks.
    Look-up tables and convolutions are stored in 8 bits, as by ``int8-weights``.

    Source: Dettmers & Zettlemoyer 2023, arXiv:2212.09720 (4 bits in small blocks); ONNX, operator set 21.
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "w4"
    computed_in = "fp32"
    weight_bytes = 0.625  # half a byte, and its part of a scale of four
    extra = ""
    provenance = Provenance(source="own", licence="Apache-2.0", paper="https://arxiv.org/abs/2212.09720")

    def options(self, device: Device) -> Options:
        """There is nothing to choose."""
        return {}

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> None:
        """Store the large matrices of the ONNX file ``source`` in 4 bits.

        Args:
            source: any graph.
            target: written whole.
            calibration: unused.
            options: none.
            seed: unused.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NOTHING_TO_SHRINK`` where less than a tenth of the weights is in matrices, or
                less than a tenth of the file would be saved;
                ``NOT_FINITE`` where weights are not; ``QUANTISATION_FAILED`` where the graph has no form in operator
                set 21.
        """
        import onnx

        if options:
            raise Unsupported("BAD_OPTION", f"int4-weights has no option {next(iter(options))!r}; it has no options")
        model = onnx.load(source)
        before = model.ByteSize()
        if not _matter(model.graph):
            raise Unsupported(
                "NOTHING_TO_SHRINK", "matrices of products are too small a part of the weights for 4 bits to matter"
            )
        if any(used.domain in ("", "ai.onnx") and used.version < OPSET for used in model.opset_import):
            try:
                model = onnx.version_converter.convert_version(model, OPSET)
            except (RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise Unsupported(
                    "QUANTISATION_FAILED", f"the graph cannot be brought to operator set {OPSET}: {reason}"
                ) from error
        model.ir_version = max(model.ir_version, 10)  # the first with 4 bits
        store_in_blocks(model, matrices_of(model.graph))
        store_in_bytes(model)
        if before - model.ByteSize() < LEAST_SAVING * before:
            raise Unsupported(
                "NOTHING_TO_SHRINK", "tables and matrices of weights are too small a part of the file to matter"
            )
        onnx.save(model, target)


def _matter(graph: Any) -> bool:
    """Whether enough of a graph's weights is in matrices."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    inside = sum(sizes[matrix.weight] for matrix in matrices_of(graph))
    return bool(inside > 0 and inside >= LEAST_PART * sum(sizes.values()))
