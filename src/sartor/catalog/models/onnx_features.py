"""Pretrained networks for pictures as ONNX files: what they see, frozen, and a linear classifier on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import onnx_graphs
from sartor.catalog.models.parts.given_family import GivenPictureFamily
from sartor.errors import Refused
from sartor.registry import register
from sartor.types import Network, Provenance

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from sartor.catalog.contracts import Array

_MOST_TRIED, _FEW = 192, 48  # pictures: for the likelier ranges of pixels, and for every one
_USUAL = (224, 224)  # pixels, where a file takes any size
_LEAST_FEATURES = 8
_PASSING = frozenset({"Softmax", "LogSoftmax", "Identity", "Cast", "Add"})  # between the last product and the output


@register("models", "onnx-features")
class OnnxFeatures(GivenPictureFamily):
    """The last features of a network, computed once for every picture, then logistic regression on them.

    Of a classifier of other classes these are what its last matrix product reads; of a network that gives maps, their
    means. Only the regression is computed, in seconds.

    ``options``: ``{"file": …, "sha256": …, "features": name, "count": …, "map": whether it gives maps}``.

    Source: Donahue et al. 2013, "DeCAF", arXiv:1310.1531.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("a file of yours", "its own", "arXiv:1310.1531")

    def checkpoint_variant(self, path: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that learns from a file's features, at the size of its input.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is no file ``.onnx``.
            Refused: it is no ONNX file, takes no pictures or gives no features.
        """
        model, entry = self.opened(path)
        size = entry.size or (_USUAL if _USUAL in sizes else sizes[0])
        features = _features(model, entry, size, path.name)
        options = {**onnx_graphs.options_of(path), "features": features.name, "count": features.sides[1],
                   "map": len(features.sides) == 4}  # fmt: skip
        return Variant(path.stem, options, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs).

        Raises:
            Refused: the file has changed since the run began.
        """
        from torch import nn

        from sartor.catalog.models.parts.given_pictures import GivenGraph

        options = network.options

        class Features(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.given = GivenGraph(network, [options["features"]])
                self.head = nn.Linear(options["count"], network.outputs)

            def features(self, x: Tensor) -> Tensor:
                (found,) = self.given(x)
                rows: Tensor = found.mean(dim=(2, 3)) if options["map"] else found
                return rows

            def forward(self, x: Tensor) -> Tensor:
                logits: Tensor = self.head(self.features(x))
                return logits

        return Features()

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose range and order of colours by which classes lie apart; then every picture once, and the regression."""
        import torch

        from sartor.catalog.models.parts.frozen_features import fit_head, told_apart
        from sartor.catalog.models.parts.given_pictures import settle, spread

        network: Any = module
        pictures, truths = spread(batches, _MOST_TRIED)

        def apart(outputs: tuple[Tensor, ...], wanted: Tensor) -> float:
            found = outputs[0].mean(dim=(2, 3)) if outputs[0].ndim == 4 else outputs[0]
            return told_apart(found - found.mean(0), wanted)

        settle(network.given, pictures, truths.long(), apart, _FEW)
        found = [(network.features(inputs), labels) for inputs, labels in batches()]
        vectors, labels = torch.cat([part[0] for part in found]), torch.cat([part[1] for part in found]).long()
        fit_head(network.head.weight, network.head.bias, vectors, labels)

    def to_onnx(self, shipped: nn.Module, example: Array) -> ModelProto:
        """One graph: pixels as the file wants them, its graph up to the features, the regression, softmax."""
        from sartor.catalog.models.parts.given_pictures import one_graph
        from sartor.catalog.models.parts.onnx_graphs import Exit

        wrapped: Any = shipped
        return one_graph(shipped, example, [Exit(wrapped.module.given.outputs[0], (0, 1), True)])


def _features(model: ModelProto, entry: onnx_graphs.Entry, size: Sequence[int], name: str) -> onnx_graphs.Exit:
    """The tensor that says most about a picture: what the last product before an output reads, else an output.

    Raises:
        Refused: there is none.
    """
    exits = onnx_graphs.exits_of(model, entry, size)
    made = {output: node for node in model.graph.node for output in node.output}
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {output for output, node in made.items() if node.op_type == "Constant"}
    for one in (one for one in exits if len(one.sides) == 2):
        node = made.get(one.name)
        while node is not None and node.op_type in _PASSING:
            node = next((made[source] for source in node.input if source in made and source not in weights), None)
        if node is not None and node.op_type in ("Gemm", "MatMul") and node.input[1] in weights:
            inner = onnx_graphs.inner_exit(model, entry, size, node.input[0])
            if inner is not None and len(inner.sides) == 2 and inner.sides[1] >= _LEAST_FEATURES:
                return inner
    fitting = [one for one in exits if one.floats and len(one.sides) in (2, 4) and one.sides[1] >= _LEAST_FEATURES]
    if not fitting:
        raise Refused(
            f"{name} gives {onnx_graphs.shown(exits)}; features are (n, d) or maps (n, d, h, w) with a fixed d of at "
            f"least {_LEAST_FEATURES}"
        )
    return min(fitting, key=lambda one: (len(one.sides), -one.sides[1]))
