"""Weights in 8 bits, arithmetic in 32: the file shrinks, the sums stay those of any processor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sartor.catalog.compressors.parts.small_weights import store_in_bytes
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

LEAST_SAVING = 0.1  # of the file


@register("compressors", "int8-weights")
class Int8Weights:
    """Weight-only quantisation, symmetric, a scale per row of a table and per output channel of a product.

    Nothing is calibrated: activations stay as they are. Look-up tables are kept in 8 bits in memory too, and only the
    rows that a call takes become floats; matrices of products become floats (or stay, where a runtime can multiply so)
    when the file is loaded. Vectors, and tables used in any other way, stay as they are.

    Source: Jacob et al. 2018, arXiv:1712.05877 (symmetric weights); Krishnamoorthi 2018, arXiv:1806.08342 (per
    channel); Guan et al. 2019, arXiv:1911.02079 (rows of embedding tables).
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "w8"
    computed_in = "fp32"
    weight_bytes = 1.0
    extra = ""
    provenance = Provenance(source="own", licence="Apache-2.0", paper="https://arxiv.org/abs/1806.08342")

    def options(self, device: Device) -> Options:
        """There is nothing to choose."""
        return {}

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> None:
        """Store the large weights of the ONNX file ``source`` in 8 bits.

        Args:
            source: any graph.
            target: written whole.
            calibration: unused.
            options: none.
            seed: unused.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NOTHING_TO_SHRINK`` where less than a tenth of the file would be saved;
                ``NOT_FINITE`` where weights are not.
        """
        import onnx

        if options:
            raise Unsupported("BAD_OPTION", f"int8-weights has no option {next(iter(options))!r}; it has no options")
        model = onnx.load(source)
        before = model.ByteSize()
        store_in_bytes(model)
        if before - model.ByteSize() < LEAST_SAVING * before:
            raise Unsupported(
                "NOTHING_TO_SHRINK", "tables and matrices of weights are too small a part of the file to matter"
            )
        onnx.save(model, target)
