"""Image classifiers that are trained already, as ONNX files: kept as they are, made to meet the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import graph_names, onnx_graphs
from sartor.catalog.models.parts.given_family import GivenPictureFamily
from sartor.errors import Unsupported
from sartor.registry import register
from sartor.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from sartor.catalog.contracts import Array

_MOST_TRIED = 48  # pictures: each is asked for every range of pixels
_USUAL = (224, 224)  # pixels, where a file takes any size


@register("models", "onnx-classifier")
class OnnxClassifier(GivenPictureFamily):
    """A classifier of yours that knows the labels, as it is: ``model: my_classifier.onnx``.

    Nothing else is searched then: it is exported, compressed, measured and judged against the limits, a drop
    (``max_drop``) against itself. Names of its outputs are read from the file's metadata or from a file
    ``my_classifier.names`` beside it and matched to the labels; without names there have to be as many outputs as
    labels, in their order.

    ``options``: ``{"file": …, "sha256": …, "output": name, "places": [output of each label]}``.
    """

    name: str
    tasks = frozenset({"image-classification"})
    answers = True

    def labelled_variant(self, path: Path, sizes: Sequence[tuple[int, ...]], labels: Sequence[str]) -> Variant:
        """The variant that runs a file, at the size of its input.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is no file ``.onnx``; ``OTHER_LABELS``: its outputs are no labels.
            Refused: it is no ONNX file or takes no pictures.
        """
        model, entry = self.opened(path)
        size = entry.size or (_USUAL if _USUAL in sizes else sizes[0])
        exits = onnx_graphs.exits_of(model, entry, size)
        rows = [one for one in exits if one.floats and len(one.sides) == 2 and one.sides[1] > 1]
        if not rows:
            raise Unsupported(
                "OTHER_LABELS",
                f"{path.name} gives {onnx_graphs.shown(exits)}; a classifier gives (n, classes), scores or logits",
            )
        places = _places(graph_names.names_of(model, path), rows[0].sides[1], labels, path)
        options = {**onnx_graphs.options_of(path), "output": rows[0].name, "places": places}
        return Variant(path.stem, options, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, labels).

        Raises:
            Refused: the file has changed since the run began.
        """
        import torch
        from torch import nn

        from sartor.catalog.models.parts.given_pictures import GivenGraph

        class Classifier(nn.Module):
            shares: Tensor  # 1 where the graph gives probabilities, 0 where it gives logits
            places: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.given = GivenGraph(network, [network.options["output"]])
                self.register_buffer("shares", torch.zeros(()))
                self.register_buffer("places", torch.tensor(network.options["places"]))

            def forward(self, x: Tensor) -> Tensor:
                (outputs,) = self.given(x)
                chosen = outputs[:, self.places]
                return torch.where(self.shares > 0, chosen.clamp_min(1e-12).log(), chosen)

        return Classifier()

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose range and order of colours by how likely the labels of some pictures of train are.

        Raises:
            Unsupported: ``OTHER_ORDER``: its outputs mean the labels, but in another order.
        """
        from sartor.catalog.models.parts.given_pictures import settle, spread

        given: Any = module.get_submodule("given")
        shares = module.get_buffer("shares")
        pictures, truths = spread(batches, _MOST_TRIED)
        truths = truths.long()

        def likelihood(outputs: tuple[Tensor, ...], wanted: Tensor) -> float:
            shares.fill_(float(_are_shares(outputs[0])))
            with given.answering(outputs):
                logits = module(pictures)
            return float(logits.log_softmax(1).nan_to_num(-1e3, neginf=-1e3)[range(len(wanted)), wanted].mean())

        settle(given, pictures, truths, likelihood)
        _refuse_other_order(module(pictures).argmax(1), truths)

    def remarks(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> list[str]:
        """What the layers show, and whether labels are named no better than by chance."""
        from sartor.catalog.models.parts.given_pictures import spread

        pictures, truths = spread(batches, _MOST_TRIED)
        right = int((module(pictures).argmax(1) == truths.long()).sum())
        guessed = int(truths.long().bincount().max())  # who always names the commonest label
        beyond = guessed + 2 * (guessed * (1 - guessed / len(truths))) ** 0.5  # two standard errors
        return [
            *super().remarks(module, batches),
            *([
                f"it names {right} of {len(truths)} pictures of train rightly, no better than chance ({guessed} by the "
                "commonest label): its labels are others, or its pictures were normalised in a way that is not tried"
            ] if right < beyond else []),
        ]  # fmt: skip

    def to_onnx(self, shipped: nn.Module, example: Array) -> ModelProto:
        """One graph: pixels as the file wants them, the file's own graph, labels in the data's order, softmax."""
        from sartor.catalog.models.parts.given_pictures import one_graph
        from sartor.catalog.models.parts.onnx_graphs import Exit

        wrapped: Any = shipped
        return one_graph(shipped, example, [Exit(wrapped.module.given.outputs[0], (0, 1), True)])


def _places(names: Sequence[str], outputs: int, labels: Sequence[str], path: Path) -> list[int]:
    """The output of each label; raise ``Unsupported`` where one has none."""
    if not names:
        if outputs == len(labels):
            return list(range(outputs))
        raise Unsupported(
            "OTHER_LABELS",
            f"{path.name} has {outputs} outputs and no names for them, the data {len(labels)} labels; "
            f"put its names, one a line, into {path.with_suffix('.names').name} beside it",
        )
    if len(names) != outputs:
        raise Unsupported("OTHER_LABELS", f"{path.name} has {outputs} outputs, but {len(names)} names for them")
    places = graph_names.places_of(labels, names)
    missing = [label for label, place in zip(labels, places, strict=True) if place == graph_names.UNKNOWN]
    if missing:
        raise Unsupported("OTHER_LABELS", f"{path.name} does not know the label {missing[0]!r} (of {len(missing)})")
    return places


def _are_shares(outputs: Tensor) -> bool:
    """Whether rows are probabilities."""
    return bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() < 1e-2).all())


def _refuse_other_order(found: Tensor, truths: Tensor) -> None:
    """Refuse outputs that tell the classes apart well, each under another's label."""
    right = float((found == truths).float().mean())
    renamed = sum(int(truths[found == one].bincount().max()) for one in sorted(set(found.tolist()))) / len(truths)
    if renamed > 0.5 and right < renamed / 2:
        raise Unsupported(
            "OTHER_ORDER",
            f"it names {right:.0%} of train's pictures rightly, and would name {renamed:.0%} with its outputs in "
            "another order; name them in a file of names beside it",
        )
