"""What families have in common that run a graph of a user's own: where it comes from, its cost, that it is fitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import graph_costs, graph_health, onnx_graphs
from sartor.errors import Unsupported
from sartor.jobs import NetworkCost, Recipe
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

_LOOKED_AT = 24  # samples, of which every layer's values are kept


class GivenFamily:
    """A base for families whose variants are files: nothing is searched, little is fitted.

    A subclass says which file it takes (``labelled_variant`` or ``checkpoint_variant``, by :meth:`opened`), how it
    becomes a module, how that is fitted, and what is shipped.
    """

    name: str
    provenance = Provenance("a file of yours", "its own", "https://onnx.ai")
    fitting: Literal["gradient", "closed-form"] = "closed-form"
    baseline = False
    batch_size = 32

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None without a file.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("NEEDS_CHECKPOINT", f"{self.name} runs a given network; name one with model: file.onnx")

    def opened(self, path: Path) -> tuple[ModelProto, onnx_graphs.Entry]:
        """A file's graph and where its pictures go in.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is no file ``.onnx``.
            Refused: it is no ONNX file, takes no pictures, or has weights that are no numbers.
        """
        onnx_graphs.require_file(self.name, path)
        model = onnx_graphs.read_graph(onnx_graphs.read_content(path), path.name)
        entry = onnx_graphs.entry_of(model, path.name)
        graph_health.check_weights(model, path.name)
        return model, entry

    def cost(self, network: Network) -> NetworkCost:
        """Counted from the file."""
        return graph_costs.cost(network)

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Fitting is not repeated."""
        return Recipe(1.0, self.batch_size, "closed-form", 0.0, 0.0)


class GivenPictureFamily(GivenFamily):
    """Of graphs that are asked with pixels in a range of their own: a module's ``given`` is a ``GivenGraph``."""

    def denormalise(self, module: nn.Module, statistics: Mapping[str, Sequence[float]]) -> None:
        """Undo what the task does to pixels: the file has its own way."""
        given: Any = module.get_submodule("given")
        given.denormalise(statistics)

    def remarks(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> list[str]:
        """Sentences on how far the data is from what the network was trained on, as its own layers show it."""
        from sartor.catalog.models.parts.given_pictures import spread

        given: Any = module.get_submodule("given")
        samples, _ = spread(batches, _LOOKED_AT)
        found = graph_health.distance_from_training(given.graph.numpy().tobytes(), given.entry, given.asked(samples))
        return [found] if found else []
