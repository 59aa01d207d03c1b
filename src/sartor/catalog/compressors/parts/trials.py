"""Quantisations of one graph tried on samples: how much noise each leaves where the network ends in products."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.compressors.parts.noise import Judge, most_judging
from sartor.catalog.compressors.parts.qdq import CARRIED, WEIGHTED, Reader, between, weighted_places
from sartor.catalog.compressors.parts.smoothing import Place, largest_activations, places_of, smoothed

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

Method = Literal["MinMax", "Percentile", "Entropy"]
"""Where ranges of activations come from: extremes, a share of all values, or the least loss of information."""

PERCENTILE = 99.99  # of the values of a tensor that its range holds
SAME = 1e-8  # of the power of what a network gives, at most, may differ where it should give the same
RANGING = 4  # times as many samples as judge, at most, go into histograms, which are slow; extremes are of all


class Trials:
    """Makes quantised graphs of one network and judges them by samples that no range was taken from.

    Args:
        prepared: path of a graph that ``qdq.prepare`` wrote; files are written beside it.
        samples: (n, …) of the input's type; every second one gives ranges, of the others some judge.
        per_channel, reduce_range, activation: how numbers are stored, as in ``int8-static``.
    """

    def __init__(
        self,
        prepared: Path,
        samples: Array,
        *,
        per_channel: bool,
        reduce_range: bool,
        activation: Literal["uint8", "int8"],
    ) -> None:
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        self._path = prepared
        self.model = load_model_with_shape_infer(prepared)
        self.weighted = weighted_places(self.model.graph)
        self._scheme = (per_channel, reduce_range, activation)
        self._ranging = samples[::2]
        self._few = most_judging(samples) * RANGING
        self._judge = Judge(self.model, samples[1::2] if len(samples) > 1 else samples)

    def smoothed(self, share: float, *, multiply: bool = False) -> Trials | None:
        """Trials of the same network with channels of activations made alike; None where no more can be.

        Args:
            share: which part of a channel's loudness goes into weights, 0..1.
            multiply: where nothing before a tensor can be made to give it scaled, multiply it. For networks that need
                none of that there is nothing to try so.
        """
        import onnx
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        places, largest = self._loudness
        if not any(not place.makers if multiply else place.makers for place in places):
            return None
        made = copy.copy(self)
        made.model = smoothed(self.model, places, largest, share, multiply=multiply)
        try:
            same = self._judge.noise(made.model) <= SAME  # not a number is not the same
        except Exception:  # ONNX Runtime raises classes of its own, all bare Exceptions
            same = False
        if not same:
            return None
        made._path = self._path.with_name(f"smoothed-{share}{'-multiplied' if multiply else ''}.onnx")
        onnx.save(made.model, made._path)
        made.model = load_model_with_shape_infer(made._path)  # quantisation asks for the types of new tensors
        made.weighted = weighted_places(made.model.graph)
        return made

    @cached_property
    def _loudness(self) -> tuple[list[Place], list[Array]]:
        """Tensors whose channels may be scaled, and how large each channel is on the samples that give ranges."""
        places = places_of(self.model)
        return places, largest_activations(self.model, places, self._ranging) if places else []

    def ranges(self, method: Method) -> Any:
        """Ranges of all activations (a ``TensorsData``), by one method."""
        from onnxruntime.quantization import CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator

        calibrator = create_calibrator(
            self._path,
            sorted(WEIGHTED | CARRIED),
            augmented_model_path=str(self._path.with_name("augmented.onnx")),
            calibrate_method=getattr(CalibrationMethod, method),
            extra_options={"percentile": PERCENTILE} if method == "Percentile" else {},
        )
        samples = self._ranging if method == "MinMax" else self._ranging[: self._few]
        reader = Reader(self.model.graph.input[0], samples)
        for start in range(0, len(reader), reader.stride):
            reader.set_range(start, start + reader.stride)
            calibrator.collect_data(reader)
        return calibrator.compute_data()

    def made(self, ranges: Any, weighted: Sequence[int]) -> Any:
        """The graph (a ``ModelProto``) with the weighted nodes at these places in 8 bits, the others in float."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        per_channel, reduce_range, activation = self._scheme
        quantizer = QDQQuantizer(
            copy.deepcopy(self.model),
            per_channel,
            reduce_range,
            QuantType.QInt8,
            QuantType.QUInt8 if activation == "uint8" else QuantType.QInt8,
            ranges,
            between(self.model.graph, weighted),
            [],
            sorted(WEIGHTED | CARRIED),
            {},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return quantizer.model.model

    def noise(self, model: Any, *, roughly: bool = False) -> float:
        """How much of what the float graph gives at its last products is lost, as :meth:`Judge.noise` tells it."""
        return self._judge.noise(model, roughly=roughly)
