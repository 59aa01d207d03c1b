"""No compression: the file as it is exported."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array


@register("compressors", "none")
class Uncompressed:
    """Hands the file on; the uncompressed parent that compressed children are compared with."""

    name: str
    accepts = frozenset({"onnx", "torch"})
    produces = "onnx"
    precision = "fp32"
    extra = ""
    provenance = Provenance(source="sartor", licence="Apache-2.0", paper="")

    def options(self, device: Device) -> Options:
        """There is nothing to choose."""
        return {}

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> None:
        """Copy the file byte for byte.

        Raises:
            Unsupported: ``BAD_OPTION``: any option at all.
        """
        if options:
            raise Unsupported("BAD_OPTION", f"none has no option {next(iter(options))!r}; it has no options")
        shutil.copyfile(source, target)
