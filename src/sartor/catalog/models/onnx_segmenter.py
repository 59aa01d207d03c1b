"""Segmenters that are trained already, as ONNX files: kept as they are, made to meet the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import graph_names, onnx_graphs
from sartor.catalog.models.parts.given_family import GivenPictureFamily
from sartor.errors import Refused
from sartor.registry import register
from sartor.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from sartor.catalog.contracts import Array

_MOST_TRIED = 24  # pictures: each is asked for every range of pixels
_IGNORED = 255  # of truths: nobody said
_MOST_CLASSES = 1000  # more columns than that are pixels


@register("models", "onnx-segmenter")
class OnnxSegmenter(GivenPictureFamily):
    """A segmenter of yours, as it is: ``model: my_segmenter.onnx``.

    Nothing else is searched then: it is exported, compressed, measured and judged against the limits, a drop
    (``max_drop``) against itself. It gives logits or shares of its classes per pixel, (n, classes, h, w) or
    (n, h, w, classes), or class numbers, (n, h, w), at any size; one channel is how sure it is of the second of two
    labels. Names of classes are read from the file's metadata or from ``my_segmenter.names`` beside it.

    ``options``: ``{"file": …, "sha256": …, "output": name, "sides": …, "last": whether classes come last,
    "classes": how many, "places": [class of each label, -1 for none]}``.
    """

    name: str
    tasks = frozenset({"image-segmentation"})
    answers = True
    batch_size = 8

    def labelled_variant(self, path: Path, sizes: Sequence[tuple[int, ...]], labels: Sequence[str]) -> Variant:
        """The variant that runs a file, at the size of its input.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is no file ``.onnx``.
            Refused: it takes no pictures, gives no map of classes, or knows none of the labels.
        """
        model, entry = self.opened(path)
        size = entry.size or sizes[0]
        names = graph_names.names_of(model, path)
        exits = onnx_graphs.exits_of(model, entry, size)
        chosen = next((one for one in exits if _is_map(one)), None)
        if chosen is None:
            raise Refused(
                f"{path.name} gives {onnx_graphs.shown(exits)}; a segmenter gives (n, classes, h, w), "
                "(n, h, w, classes) or class numbers (n, h, w)"
            )
        last, classes = _classes(chosen, len(names or labels))
        options = {
            **onnx_graphs.options_of(path), "output": chosen.name, "sides": list(chosen.sides), "last": last,
            "classes": classes, "places": _places(classes, names, labels, path),
        }  # fmt: skip
        return Variant(path.stem, options, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, labels, h, w) at the file's own size.

        Raises:
            Refused: the file has changed since the run began.
        """
        import torch
        from torch import nn

        from sartor.catalog.models.parts.given_pictures import GivenGraph

        options = network.options

        class Segmenter(nn.Module):
            shares: Tensor  # 1 where the graph gives shares of classes, 0 where it gives logits
            first: Tensor  # 1 where its one channel means the first label
            places: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.given = GivenGraph(network, [options["output"]])
                self.register_buffer("shares", torch.zeros(()))
                self.register_buffer("first", torch.zeros(()))
                self.register_buffer("places", torch.tensor(options["places"]))

            def forward(self, x: Tensor) -> Tensor:
                (found,) = self.given(x)
                logits: Tensor
                if options["classes"] == 0:  # class numbers
                    logits = 20.0 * (found[:, None].round() == self.places.view(1, -1, 1, 1)).float()
                    return logits
                maps = found.permute(0, 3, 1, 2) if options["last"] else found
                if options["classes"] == 1:  # how sure it is of one of two
                    sure = torch.where(self.shares > 0, maps.clamp(1e-6, 1 - 1e-6).logit(), maps)
                    sure = torch.where(self.first > 0, -sure, sure)
                    return torch.cat([torch.zeros_like(sure), sure], dim=1)
                logits = maps[:, self.places.clamp_min(0)]
                logits = torch.where(self.shares > 0, logits.clamp_min(1e-6).log(), logits)
                return torch.where((self.places >= 0).view(1, -1, 1, 1), logits, -1e4)

        return Segmenter()

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose how it is asked, and what its values mean, by the mean overlap with some masks of train."""
        from sartor.catalog.models.parts.given_pictures import settle, spread

        network: Any = module
        pictures, masks = spread(batches, _MOST_TRIED)
        best: dict[str, Any] = {"value": -1.0}

        def judge(outputs: tuple[Tensor, ...], wanted: Tensor) -> float:
            network.shares.fill_(float(bool((outputs[0] >= 0).all()) and bool((outputs[0] <= 1 + 1e-3).all())))
            tried = []
            with network.given.answering(outputs):
                for first in (0.0, 1.0):
                    network.first.fill_(first)
                    tried.append((mean_overlap(network(pictures), wanted), first))
            value, first = max(tried, key=lambda one: one[0])
            if value > best["value"]:
                best.update(value=value, first=first, shares=float(network.shares))
            return value

        settle(network.given, pictures, masks, judge)
        network.first.fill_(best["first"])
        network.shares.fill_(best["shares"])

    def to_onnx(self, shipped: nn.Module, example: Array) -> ModelProto:
        """One graph: pixels as the file wants them, the file's own graph, its map as the task has it."""
        from sartor.catalog.models.parts.given_pictures import one_graph
        from sartor.catalog.models.parts.onnx_graphs import Exit

        wrapped: Any = shipped
        name = wrapped.module.given.outputs[0]
        return one_graph(shipped, example, [Exit(name, (), True)])


def mean_overlap(logits: Tensor, masks: Tensor) -> float:
    """Mean over the classes that occur of the overlap of answered and true pixels, pooled.

    Args:
        logits: (n, labels, h, w).
        masks: (n, H, W) uint8 of label numbers, 255 where nobody said.
    """
    import torch
    from torch.nn.functional import interpolate

    answered = interpolate(logits, size=masks.shape[1:], mode="bilinear", align_corners=False).argmax(1)
    known = masks != _IGNORED
    classes = logits.shape[1]
    pairs = torch.bincount(masks[known].long() * classes + answered[known], minlength=classes * classes)
    table = pairs.view(classes, classes).double()
    union = table.sum(0) + table.sum(1) - table.diag()
    occurs = table.sum(1) > 0
    return float((table.diag() / union.clamp_min(1))[occurs].mean()) if occurs.any() else 0.0


def _is_map(one: onnx_graphs.Exit) -> bool:
    if len(one.sides) == 3:
        return min(one.sides[1:]) > 1 or 0 in one.sides[1:]
    return len(one.sides) == 4 and one.floats and any(0 < one.sides[axis] <= _MOST_CLASSES for axis in (1, 3))


def _classes(one: onnx_graphs.Exit, known: int) -> tuple[bool, int]:
    """Whether classes come last, and how many there are; 0 for class numbers."""
    if len(one.sides) == 3:
        return False, 0
    for count in (known, 1):
        for axis in (1, 3):
            if one.sides[axis] == count:
                return axis == 3, count
    return False, one.sides[1]


def _places(classes: int, names: Sequence[str], labels: Sequence[str], path: Path) -> list[int]:
    """The class of each label; raise ``Refused`` where they cannot be matched."""
    if classes == 1:
        if len(labels) != 2:
            raise Refused(f"{path.name} tells one class from the rest; the data has {len(labels)} labels")
        return [0, 1]
    if not names and classes not in (0, len(labels)):
        raise Refused(
            f"{path.name} has {classes} classes and no names for them, the data {len(labels)} labels; put its names, "
            f"one a line, into {path.with_suffix('.names').name} beside it"
        )
    if names and classes not in (0, len(names)):
        raise Refused(f"{path.name} has {classes} classes, but {len(names)} names for them")
    places = graph_names.places_of(labels, names or labels)
    if all(place == graph_names.UNKNOWN for place in places):
        raise Refused(
            f"{path.name} knows none of the labels {', '.join(labels[:5])}; its names are {', '.join(names[:5])} …"
        )
    return places
