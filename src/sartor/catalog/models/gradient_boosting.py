"""Gradient-boosted decision trees, grown by LightGBM, one booster or averages, and shipped as one TreeEnsemble node."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.errors import MissingExtra
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    Array = np.ndarray[Any, np.dtype[Any]]

_SIZES = (
    # name, boosters, rounds of each, leaves, depth, learning rate, least effort
    ("xs", 1, 60, 8, 6, 0.2, "balanced"),
    ("s", 1, 150, 16, 8, 0.1, "quick"),
    ("m", 1, 400, 32, 10, 0.06, "quick"),
    ("m-of-2", 2, 400, 32, 10, 0.08, "quick"),
    ("l", 1, 1000, 48, 12, 0.04, "balanced"),
    ("l-of-2", 2, 1000, 48, 12, 0.04, "balanced"),
    ("xl", 1, 2500, 64, 14, 0.02, "thorough"),
    ("l-of-4", 4, 1000, 48, 12, 0.04, "thorough"),
)
_EFFORTS = ("quick", "balanced", "thorough")
_MOST_TREES = 6000  # of all classes together
_FEW_VALUES = 10_000  # up to here one thread: several wait for each other, and beside other work ten times as long


@register("models", "gradient-boosting")
class GradientBoosting:
    """Trees grown leaf by leaf on the gradient of the loss, rows and columns sampled; their number by early stopping.

    Larger sizes are averages of several boosters, of skewed numbers half of them on logarithms.

    Source: Ke et al. 2017, "LightGBM: A highly efficient gradient boosting decision tree", NeurIPS.
    """

    name: str
    tasks = frozenset({"tabular-classification", "tabular-regression"})
    provenance = Provenance("lightgbm-org/LightGBM", "MIT", "NeurIPS 2017, Ke et al.")
    fitting = "closed-form"
    baseline = False
    domains = frozenset({"ai.onnx.ml"})

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """By rounds and leaves; with many classes fewer rounds, as each needs a tree of its own."""
        if find_spec("lightgbm") is None:
            raise MissingExtra("gradient-boosting", "tabular", "lightgbm")
        classes = len(card.labels) if len(card.labels) > 2 else 1
        rows = card.splits["train"].samples
        for name, boosters, rounds, leaves, depth, rate, least in _SIZES:
            if _EFFORTS.index(least) <= _EFFORTS.index(effort):
                fewer = max(10, min(rounds, _MOST_TREES // classes // boosters))
                options = {
                    "boosters": boosters,
                    "rounds": fewer,
                    "leaves": max(4, min(leaves, rows // 10)),
                    "depth": depth,
                    "rate": round(min(0.3, rate * rounds / fewer), 4),
                }
                yield Variant(name, options, min(sizes))

    def build(self, network: Network) -> nn.Module:
        """Encoded rows (n, inputs, …, value last) to log odds (n, outputs), or numbers (n, 1)."""
        from sartor.catalog.models.parts.trees import Trees, answers_of

        options = network.options
        trees = options["boosters"] * options["rounds"] * answers_of(network.outputs)
        logs = network.outputs == 1 and options["boosters"] > 1
        module = Trees(network.input_size[0], network.outputs, trees, options["leaves"], options["depth"], logs=logs)
        module.boosters = options["boosters"]
        module.learning_rate = options["rate"]
        return module

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Rows are only collected in batches; LightGBM makes its own way through them."""
        return Recipe(1.0, 4096, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Find the number of rounds on rows held out, then grow on all rows."""
        import numpy as np
        import torch

        from sartor.catalog.models.parts.boosting import grow
        from sartor.catalog.models.parts.trees import take_lightgbm

        trees: Any = module
        pairs = [(inputs[..., -1].clone().numpy(), targets.numpy()) for inputs, targets in batches()]  # not the steps
        rows, truths = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        threads = 1 if rows.size <= _FEW_VALUES else os.cpu_count() or 1
        grown = grow(rows, truths, trees, trees.boosters, threads, torch.initial_seed() % 2**31)
        known = np.isfinite(rows).any(axis=0)
        middle = np.zeros(rows.shape[1])
        middle[known] = np.nanmedian(np.where(np.isfinite(rows), rows, np.nan)[:, known], axis=0)
        take_lightgbm(trees, grown.shares, middle)
        trees.factor.fill_(grown.factor)
        trees.constant.fill_(grown.constant)

    def to_onnx(self, shipped: nn.Module, example: Array) -> Any:
        """The trees as one node, behind it what makes probabilities, or numbers in the unit of the truths."""
        import onnx
        from onnx import TensorProto, helper

        from sartor.catalog.models.parts.trees import sums_of, tree_ensemble

        wrapped: Any = shipped
        trees: Any = shipped.get_submodule("module")
        nodes, constants, sums = [tree_ensemble(trees)], [], "sums"
        factors = {"scale": wrapped.scale, "mean": wrapped.mean} if trees.outputs == 1 else {}
        if trees.outputs == 1 and sums_of(trees) == 2:
            factors |= {"factor": float(trees.factor), "mean": wrapped.mean + float(trees.constant) * wrapped.scale}
            nodes.append(helper.make_node("Split", ["sums"], ["plain", "logarithms"], axis=1, num_outputs=2))
            nodes.append(helper.make_node("Exp", ["logarithms"], ["exponentials"]))
            nodes.append(helper.make_node("Mul", ["exponentials", "factor"], ["beyond"]))
            nodes.append(helper.make_node("Add", ["plain", "beyond"], ["both"]))
            sums = "both"
        if trees.outputs > 1:
            nodes.append(helper.make_node("Softmax", ["sums"], ["output"], axis=1))
        else:
            nodes.append(helper.make_node("Mul", [sums, "scale"], ["scaled"]))
            nodes.append(helper.make_node("Add", ["scaled", "mean"], ["output"]))
        constants = [helper.make_tensor(name, TensorProto.FLOAT, [1], [value]) for name, value in factors.items()]
        graph = helper.make_graph(
            nodes,
            "trees",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(example.shape))],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [len(example), trees.outputs])],
            constants,
        )
        versions = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 5)]
        return helper.make_model(graph, opset_imports=versions, ir_version=onnx.IR_VERSION_2023_5_5)
