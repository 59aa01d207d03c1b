"""How much of what a network gives at its last products differs between the graph and one that was made of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.compressors.parts.qdq import Reader, reached, weighted_places

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

FEWEST, MOST = 8, 64  # samples that judge a trial …
JUDGING = 2_000_000  # … so many numbers of inputs within these: large pictures say more each, and take longer
RANKING_SHARE = 0.25  # of them judge where operators are only to be put in order


class Judge:
    """Judges graphs made of one network by samples, without labels.

    Args:
        model: the float graph (a ``ModelProto``) with one input of static shape.
        samples: (n, …) of the input's type; as many as it takes of them judge.
    """

    def __init__(self, model: Any, samples: Array) -> None:
        self._input = model.graph.input[0]
        self.samples = samples[: most_judging(samples)]
        self._ends = _last_products(model.graph)
        self._wanted = self._outputs(model, self.samples)

    def noise(self, model: Any, *, roughly: bool = False) -> float:
        """Power of what differs from the float graph at its last products, over the power of what they give.

        The mean over those products; 0 for the same answers, about 1 where nothing of them is left. ``roughly``: by a
        part of the samples.
        """
        import numpy as np

        reader = Reader(self._input, self.samples)  # whole batches, for the last is filled up
        few = math.ceil(len(reader) * RANKING_SHARE) * reader.batch if roughly else len(self.samples)
        found = self._outputs(model, self.samples[:few])
        shares = [
            float(np.mean((ours - wanted) ** 2) / max(float(np.var(wanted)), 1e-12))
            for ours, wanted in zip(found, (whole[: len(found[0])] for whole in self._wanted), strict=True)
        ]
        return sum(shares) / len(shares)

    def _outputs(self, model: Any, samples: Array) -> list[Array]:
        """What the last products give for samples, each (batches, …) in float64."""
        import numpy as np

        given = {name for node in model.graph.node for name in node.output}
        # where a last product is quantised, so is its output: what is read behind it counts
        names = [next(n for n in (f"{end}_DequantizeLinear_Output", end) if n in given) for end in self._ends]
        session = asking(model, names)
        rows = [session.run(names, batch) for batch in Reader(self._input, samples)]
        return [np.stack(column).astype(np.float64) for column in zip(*rows, strict=True)]


def most_judging(samples: Array) -> int:
    """How many samples (n, …) judge: fewer of large ones."""
    return int(max(FEWEST, min(MOST, JUDGING // samples[0].size)))


def asking(model: Any, names: Sequence[str]) -> Any:
    """An ONNX Runtime session of a graph that gives the values named beside its outputs."""
    import onnxruntime
    from onnx import TensorProto, helper

    asked = copy.deepcopy(model)
    there = {output.name for output in asked.graph.output}
    asked.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in there
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _last_products(graph: Any) -> list[str]:
    """Outputs of the weighted nodes that no other weighted node comes after: the logits, the heads of a detector."""
    nodes, weighted = list(graph.node), weighted_places(graph)
    return [
        nodes[place].output[0]
        for place in weighted
        if not reached(nodes, range(len(nodes)), [place], forward=True) & set(weighted)
    ]
