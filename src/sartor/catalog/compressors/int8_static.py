"""Weights and activations in 8 bits; ranges of activations come from calibration samples."""

from __future__ import annotations

from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.compressors.parts.options import settings_of
from sartor.catalog.compressors.parts.qdq import CARRIED, WEIGHTED, Reader, between, prepare, suiting, weighted_places
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Args:
        calibration: ``minmax`` takes the extremes seen, ``percentile`` cuts off outliers.
        percentile: share of values kept, 90..100, for ``percentile``.
        per_channel: one scale per output channel of a weight (per tensor cost 0.9 points on CIFAR-10).
        activation: ``uint8`` is fast on x86 (``int8`` there was half as fast), ``int8`` on ARM.
        reduce_range: 7-bit weights, for x86 without VNNI, whose 16-bit sums would saturate.
        float_first, float_last: leave the first or last weighted operator in float.
    """

    calibration: Literal["minmax", "percentile"] = "minmax"
    percentile: float = 99.99
    per_channel: bool = True
    activation: Literal["uint8", "int8"] = "uint8"
    reduce_range: bool = False
    float_first: bool = False
    float_last: bool = False


def read_settings(options: Options) -> Settings:
    """Check options by name, type and range.

    Raises:
        Unsupported: ``BAD_OPTION``, with what is allowed.
    """
    settings = settings_of("int8-static", Settings, options)
    if settings.calibration not in ("minmax", "percentile"):
        raise Unsupported("BAD_OPTION", f"calibration is {settings.calibration!r}; it must be minmax or percentile")
    if isinstance(settings.percentile, bool) or not isinstance(settings.percentile, (int, float)):
        raise Unsupported("BAD_OPTION", f"percentile is {settings.percentile!r}; it must be a number")
    if not 90 <= settings.percentile <= 100:
        raise Unsupported("BAD_OPTION", f"percentile is {settings.percentile}; it must be between 90 and 100")
    return settings


@register("compressors", "int8-static")
class Int8Static:
    """Post-training static quantisation to one QDQ file that ONNX Runtime and OpenVINO both run in int8.

    The decoding of the input (cast, normalise), the head after the last weighted operator (softmax) and sums that no
    weighted operator takes as they are (a masked attention, a transformer's shortcuts) stay float.

    Source: Jacob et al. 2018, arXiv:1712.05877; Krishnamoorthi 2018, arXiv:1806.08342 (per-channel weights).
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "int8"
    needs_products = True
    extra = ""
    provenance = Provenance(
        source="https://github.com/microsoft/onnxruntime", licence="MIT", paper="https://arxiv.org/abs/1712.05877"
    )

    def options(self, device: Device) -> Options:
        """Options that suit a device: what is fast and exact on its instruction sets."""
        return suiting(device)

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> None:
        """Quantise the ONNX file ``source`` into ``target``.

        Args:
            source: a graph with one input of static shape (batch, …).
            target: written whole.
            calibration: (n, …) of the input's type.
            options: see :class:`Settings`.
            seed: unused; calibration looks at every sample, in order.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NOTHING_TO_QUANTISE`` for a graph without weighted operators;
                ``NO_CALIBRATION`` without samples; ``QUANTISATION_FAILED``.
        """
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

        settings = read_settings(options)
        if len(calibration) == 0:
            raise Unsupported("NO_CALIBRATION", "int8-static needs calibration samples and was given none")
        # the percentile collector prints its progress
        with TemporaryDirectory(dir=target.parent, prefix="quantise-") as folder, redirect_stdout(StringIO()):
            prepared = Path(folder) / "prepared.onnx"
            quantisable(onnx.load(source, load_external_data=False).graph, settings)  # refuses before any work
            try:
                model = prepare(source, prepared)
                chosen = quantisable(model.graph, settings)
                reader = Reader(model.graph.input[0], calibration)
                quantize_static(
                    prepared,
                    target,
                    reader,
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=sorted(WEIGHTED | CARRIED),
                    nodes_to_quantize=chosen,
                    per_channel=settings.per_channel,
                    reduce_range=settings.reduce_range,
                    activation_type=QuantType.QUInt8 if settings.activation == "uint8" else QuantType.QInt8,
                    weight_type=QuantType.QInt8,
                    calibrate_method=getattr(
                        CalibrationMethod, "MinMax" if settings.calibration == "minmax" else "Percentile"
                    ),
                    extra_options={"CalibPercentile": settings.percentile, "CalibStridedMinMax": reader.stride},
                )
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise Unsupported(
                    "QUANTISATION_FAILED", f"ONNX Runtime cannot quantise this graph: {reason}"
                ) from error


def quantisable(graph: Any, settings: Settings) -> list[str]:
    """Names of the nodes to quantise, the first or last weighted one left out where the settings say so.

    Raises:
        Unsupported: ``NOTHING_TO_QUANTISE``.
    """
    weighted = weighted_places(graph)
    return between(graph, weighted[settings.float_first : len(weighted) - settings.float_last])
