"""k nearest neighbours on small pixels: no training, the stored samples are the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST_SIDE = 8  # pixels
_SMALL_STORE, _LARGE_STORE = 1000, 5000  # samples
_NEIGHBOURS = 5
_LEAST_VOTE = 1e-3  # so that the logit of a class without a vote is finite


@register("models", "nearest-neighbours")
class NearestNeighbours:
    """The classes of the 5 nearest stored samples, by Euclidean distance of pixels, each with one vote.

    Source: Cover and Hart 1967, "Nearest neighbor pattern classification".
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("own", "Apache-2.0", "doi:10.1109/TIT.1967.1053964")
    fitting = "closed-form"
    baseline = True

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """One or two, by how many samples are kept; at the smallest input size."""
        samples = card.splits["train"].samples
        stores = [min(samples, _SMALL_STORE)]
        if effort != "quick" and samples > _SMALL_STORE:
            stores.append(min(samples, _LARGE_STORE))
        for store in stores:
            options = {"samples": store, "side": _LARGEST_SIDE, "neighbours": min(_NEIGHBOURS, store)}
            yield Variant(f"n{store}", options, min(sizes))

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs): the logarithm of vote shares."""
        import torch
        from torch import nn

        from sartor.blocks import Shrink

        samples, neighbours = network.options["samples"], network.options["neighbours"]

        class Memory(nn.Module):
            stored: Tensor  # (features, samples)
            votes: Tensor  # (samples, outputs), one-hot

            def __init__(self) -> None:
                super().__init__()
                self.shrink = Shrink(network.input_size, network.options["side"])
                self.register_buffer("stored", torch.randn(self.shrink.features, samples))
                classes = torch.arange(samples) % network.outputs
                self.register_buffer("votes", nn.functional.one_hot(classes, network.outputs).float())

            def forward(self, x: Tensor) -> Tensor:
                pixels = self.shrink(x)  # (n, features)
                # Squared distance without the pixels' own norm, which is the same for every stored sample.
                distances = self.stored.square().sum(0) - 2 * pixels @ self.stored  # (n, samples)
                nearest = torch.topk(-distances, neighbours, dim=1).indices  # (n, k)
                shares = self.votes[nearest].mean(1)  # (n, outputs)
                return (shares + _LEAST_VOTE).log()

        return Memory()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Storing is not repeated."""
        return Recipe(1.0, 512, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Store samples spread evenly over the training data; where there are fewer than places, some twice."""
        import torch

        stored, votes = module.get_buffer("stored"), module.get_buffer("votes")
        places = stored.shape[1]
        total = sum(len(truths) for _, truths in batches())
        wanted = torch.linspace(0, total - 1, places).round().long()
        seen = 0
        for inputs, truths in batches():
            here = (wanted >= seen) & (wanted < seen + len(truths))
            chosen = wanted[here] - seen
            stored[:, here] = module.get_submodule("shrink")(inputs)[chosen].T
            votes[here] = torch.nn.functional.one_hot(truths[chosen], votes.shape[1]).to(votes)
            seen += len(truths)
