"""Quantisations of one graph tried on samples: how much noise each leaves where the network ends in products."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.compressors.parts.qdq import CARRIED, WEIGHTED, Reader, between, reached, weighted_places

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

Method = Literal["MinMax", "Percentile", "Entropy"]
"""Where ranges of activations come from: extremes, a share of all values, or the least loss of information."""

PERCENTILE = 99.99  # of the values of a tensor that its range holds
FEWEST, MOST = 8, 64  # samples that judge a trial …
JUDGING = 2_000_000  # … so many numbers of inputs within these: large pictures say more each, and take longer
RANKING_SHARE = 0.25  # of them judge where operators are only to be put in order
RANGING = 4  # times as many at most go into histograms, which are slow; extremes are of all


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
        judging = max(FEWEST, min(MOST, JUDGING // samples[0].size))
        self._ranging = samples[::2]
        self._few = max(1, judging * RANGING)
        self._judging = (samples[1::2] if len(samples) > 1 else samples)[:judging]
        self._ends = _last_products(self.model.graph, self.weighted)
        self._wanted = self._outputs(self.model, self._judging)

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
        """Power of what differs from the float graph at its last products, over the power of what they give.

        The mean over those products; 0 for the same answers, about 1 where nothing of them is left. ``roughly``: by a
        part of the samples.
        """
        import numpy as np

        reader = Reader(self.model.graph.input[0], self._judging)  # whole batches, for the last is filled up
        few = math.ceil(len(reader) * RANKING_SHARE) * reader.batch if roughly else len(self._judging)
        found = self._outputs(model, self._judging[:few])
        shares = [
            float(np.mean((ours - wanted) ** 2) / max(float(np.var(wanted)), 1e-12))
            for ours, wanted in zip(found, (whole[: len(found[0])] for whole in self._wanted), strict=True)
        ]
        return sum(shares) / len(shares)

    def _outputs(self, model: Any, samples: Array) -> list[Array]:
        """What the last products give for samples, each (batches, …) in float64."""
        import numpy as np
        import onnxruntime
        from onnx import TensorProto, helper

        given = {name for node in model.graph.node for name in node.output}
        # where a last product is quantised, so is its output: what is read behind it counts
        names = [next(n for n in (f"{end}_DequantizeLinear_Output", end) if n in given) for end in self._ends]
        asked = copy.deepcopy(model)
        there = {output.name for output in asked.graph.output}
        asked.graph.output.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in there
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
        rows = [session.run(names, batch) for batch in Reader(model.graph.input[0], samples)]
        return [np.stack(column).astype(np.float64) for column in zip(*rows, strict=True)]


def _last_products(graph: Any, weighted: Sequence[int]) -> list[str]:
    """Outputs of the weighted nodes that no other weighted node comes after: the logits, the heads of a detector."""
    nodes = list(graph.node)
    return [
        nodes[place].output[0]
        for place in weighted
        if not reached(nodes, range(len(nodes)), [place], forward=True) & set(weighted)
    ]
