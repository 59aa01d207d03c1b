"""Detectors that are trained already, as ONNX files: kept as they are, made to meet the limits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import detector_layouts, graph_names, onnx_graphs
from sartor.catalog.models.parts.given_family import GivenPictureFamily
from sartor.errors import Refused, Unsupported
from sartor.registry import register
from sartor.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from sartor.catalog.contracts import Array

_MOST_TRIED = 24  # pictures: each is asked for every range of pixels
_LEAST_FOUND = 0.02  # of what is there; less is found by chance


@register("models", "onnx-detector")
class OnnxDetector(GivenPictureFamily):
    """A detector of yours, as it is: ``model: my_detector.onnx``.

    Nothing else is searched then: it is exported, compressed, measured and judged against the limits, a drop
    (``max_drop``) against itself. What it gives is told from the shapes of its outputs (``parts/detector_layouts.py``);
    names of classes are read from the file's metadata or from ``my_detector.names`` beside it, and matched to the
    labels.

    ``options``: ``{"file": …, "sha256": …, "layout": …, "places": [class number of each label, -1 for none]}``.
    """

    name: str
    tasks = frozenset({"object-detection"})
    answers = True
    batch_size = 8

    def labelled_variant(self, path: Path, sizes: Sequence[tuple[int, ...]], labels: Sequence[str]) -> Variant:
        """The variant that runs a file, at the size of its input.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is no file ``.onnx``.
            Refused: it takes no pictures, gives nothing that is known as detections, or knows none of the labels.
        """
        model, entry = self.opened(path)
        size = entry.size or _told_size(model) or sizes[0]
        names = graph_names.names_of(model, path)
        exits = onnx_graphs.exits_of(model, entry, size)
        layout = detector_layouts.layout_of(exits, len(names or labels), path.name)
        if not names and layout.kind in ("rows", "lists") and len(labels) > 1:
            raise Refused(
                f"{path.name} gives class numbers and no names for them; put its names, one a line, into "
                f"{path.with_suffix('.names').name} beside it"
            )
        places = graph_names.places_of(labels, names or labels)
        if all(place == graph_names.UNKNOWN for place in places):
            raise Refused(
                f"{path.name} knows none of the labels {', '.join(labels[:5])}; its names are {', '.join(names[:5])} …"
            )
        options = {**onnx_graphs.options_of(path), "layout": layout.as_options(), "places": places}
        return Variant(path.stem, options, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to the file's outputs; ``candidates`` reads them.

        Raises:
            Refused: the file has changed since the run began.
        """
        from sartor.catalog.models.parts.given_detector import GivenDetector

        return GivenDetector(network)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose how it is asked and how its boxes are read by what it finds on some pictures of train.

        Raises:
            Unsupported: ``NOTHING_FOUND``: no way finds what is there.
        """
        from sartor.catalog.models.parts.given_detector import settle_reading
        from sartor.catalog.models.parts.given_pictures import spread

        detector: Any = module
        pictures, targets = spread(batches, _MOST_TRIED)
        if settle_reading(detector, pictures, targets) < _LEAST_FOUND:
            raise Unsupported(
                "NOTHING_FOUND",
                f"it finds next to nothing of what {len(pictures)} pictures of train show, however its boxes are read",
            )

    def to_onnx(self, shipped: nn.Module, example: Array) -> ModelProto:
        """One graph: pixels as the file wants them, the file's own graph, its boxes as the task has them."""
        from sartor.catalog.models.parts.given_pictures import one_graph

        wrapped: Any = shipped
        detector = wrapped.module
        detector.settled = tuple(detector.reading.tolist())
        try:
            return one_graph(shipped, example, detector.layout.exits)
        finally:
            detector.settled = ()


def _told_size(model: ModelProto) -> tuple[int, int] | None:
    """(height, width) in the metadata ``imgsz`` of YOLO's exporter."""
    text = next((entry.value for entry in model.metadata_props if entry.key == "imgsz"), "")
    try:
        height, width = json.loads(text)
    except (ValueError, TypeError):
        return None
    good = all(isinstance(side, int) and 0 < side <= 4096 for side in (height, width))
    return (height, width) if good else None
