"""Gradient-boosted decision trees, grown by LightGBM and shipped as one TreeEnsemble node."""

from __future__ import annotations

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
    # name, rounds, leaves, depth, learning rate, least effort
    ("xs", 60, 8, 6, 0.2, "balanced"),
    ("s", 150, 16, 8, 0.1, "quick"),
    ("m", 400, 32, 10, 0.06, "quick"),
    ("l", 1000, 48, 12, 0.04, "balanced"),
    ("xl", 2500, 64, 14, 0.02, "thorough"),
)
_EFFORTS = ("quick", "balanced", "thorough")
_MOST_TREES = 6000  # of all classes together
_PATIENCE = 0.1  # of the rounds without a gain on the hold-out, and growing ends
_FEW_ROWS = 5000  # up to here the number of rounds comes from five folds instead of one hold-out


@register("models", "gradient-boosting")
class GradientBoosting:
    """Trees grown leaf by leaf on the gradient of the loss, rows and columns sampled; their number by early stopping.

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
        for name, rounds, leaves, depth, rate, least in _SIZES:
            if _EFFORTS.index(least) <= _EFFORTS.index(effort):
                fewer = max(10, min(rounds, _MOST_TREES // classes))
                options = {
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
        trees = options["rounds"] * answers_of(network.outputs)
        module = Trees(network.input_size[0], network.outputs, trees, options["leaves"], options["depth"])
        module.learning_rate = options["rate"]
        return module

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Rows are only collected in batches; LightGBM makes its own way through them."""
        return Recipe(1.0, 4096, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Find the number of rounds on rows held out, then grow on all rows."""
        import numpy as np

        from sartor.catalog.models.parts.trees import take_lightgbm

        pairs = [(inputs[..., -1].clone().numpy(), targets.numpy()) for inputs, targets in batches()]  # not the steps
        rows, truths = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        booster = _grown(rows, truths, module)
        known = np.isfinite(rows).any(axis=0)
        middle = np.zeros(rows.shape[1])
        middle[known] = np.nanmedian(np.where(np.isfinite(rows), rows, np.nan)[:, known], axis=0)
        take_lightgbm(module, booster.dump_model(), middle)  # type: ignore[arg-type]

    def to_onnx(self, shipped: nn.Module, example: Array) -> Any:
        """The trees as one node, behind it what makes probabilities, or numbers in the unit of the truths."""
        import onnx
        from onnx import TensorProto, helper

        from sartor.catalog.models.parts.trees import tree_ensemble

        trees: Any = shipped.get_submodule("module")
        nodes, constants = [tree_ensemble(trees)], []
        if trees.outputs > 1:
            nodes.append(helper.make_node("Softmax", ["sums"], ["output"], axis=1))
        else:
            constants = [
                helper.make_tensor(name, TensorProto.FLOAT, [1], [getattr(shipped, name)]) for name in ("scale", "mean")
            ]
            nodes.append(helper.make_node("Mul", ["sums", "scale"], ["scaled"]))
            nodes.append(helper.make_node("Add", ["scaled", "mean"], ["output"]))
        graph = helper.make_graph(
            nodes,
            "trees",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(example.shape))],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, [len(example), trees.outputs])],
            constants,
        )
        versions = [helper.make_opsetid("", 20), helper.make_opsetid("ai.onnx.ml", 5)]
        return helper.make_model(graph, opset_imports=versions, ir_version=onnx.IR_VERSION_2023_5_5)


def _grown(rows: Array, truths: Array, module: Any) -> Any:
    """A LightGBM booster with as many rounds as pay on rows held out, at most those there is room for."""
    import lightgbm
    import torch

    room = len(module.root) // module.answers
    settings = _settings(len(truths), module)
    few = len(truths) <= _FEW_ROWS
    data = lightgbm.Dataset(rows, truths, params=settings, free_raw_data=False)
    stop = lightgbm.early_stopping(max(20, round(_PATIENCE * room)), verbose=False)
    if few:
        folds = _folds(truths, module.outputs > 1, torch.initial_seed() % 2**31)
        found = lightgbm.cv(settings, data, room, folds=folds, callbacks=[stop])
        rounds = len(next(iter(found.values())))
    else:
        held = _folds(truths, False, torch.initial_seed() % 2**31)[0]
        inner = data.subset(held[0].tolist(), params=settings)
        outer = data.subset(held[1].tolist(), params=settings)
        rounds = lightgbm.train(settings, inner, room, valid_sets=[outer], callbacks=[stop]).best_iteration or room
    return lightgbm.train(settings, data, max(1, rounds))


def _settings(rows: int, module: Any) -> dict[str, Any]:
    import torch

    objective = "regression" if module.outputs == 1 else "binary" if module.outputs == 2 else "multiclass"
    classes = {"num_class": module.outputs} if module.outputs > 2 else {}
    return {
        "objective": objective,
        **classes,
        "num_leaves": (module.left.shape[1] + 1) // 2,
        "max_depth": module.depth,
        "learning_rate": module.learning_rate,
        "min_data_in_leaf": max(3, min(20, rows // 50)),
        "feature_fraction": 0.8 if module.inputs > 4 else 1.0,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "num_threads": torch.get_num_threads(),
        "seed": torch.initial_seed() % 2**31,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }


def _folds(truths: Array, stratified: bool, seed: int) -> list[tuple[Array, Array]]:
    """Five ways to hold a fifth out, as (kept, held out) row numbers; every class spread over all folds."""
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(truths))
    if stratified:
        order = order[np.argsort(truths[order], kind="stable")]
    fold = np.empty(len(truths), np.int64)
    fold[order] = np.arange(len(truths)) % 5
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(5)]
