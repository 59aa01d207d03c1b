"""What networks of face embeddings share: the head that is trained against, the loss with a margin, the recipe.

Source: Wang et al. 2018, "CosFace: Large Margin Cosine Loss for Deep Face Recognition", arXiv:1801.09414.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from sartor.catalog.models.parts import scaling
from sartor.jobs import Recipe
from sartor.types import DataCard, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

MARGIN = 0.25
"""A little less than CosFace's 0.35, which small sets of people do not reach."""

SURE = 0.99  # probability that a perfectly placed face should be able to get
LEAST_BATCH = 64
MOST_EPOCHS = 100.0
"""Longer trainings tell the people of train apart ever better, and others no better, in the end worse."""


def people(card: DataCard) -> int:
    """How many people there are to learn from; they come first among the labels."""
    return max(2, sum(1 for count in card.splits["train"].classes.values() if count))


def scale_of(classes: int) -> float:
    """What cosines are multiplied by: twice the least at which :data:`SURE` can be reached (CosFace, section 3.3)."""
    least = (classes - 1) / classes * math.log((classes - 1) * SURE / (1 - SURE))
    return max(10.0, 2 * least)


def margin_loss(cosines: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy of scaled cosines (n, people), the true one lowered by the margin."""
    from torch.nn.functional import cross_entropy, one_hot

    lowered = cosines - MARGIN * one_hot(targets, cosines.shape[1]).to(cosines)
    return cross_entropy(scale_of(cosines.shape[1]) * lowered, targets)


def embedding_network(body: nn.Module, channels: int, area: tuple[int, int], network: Network) -> nn.Module:
    """Normalised faces (n, 3, H, W) to embeddings (n, d); in training to cosines with every person, (n, people).

    Behind ``body``, whose map is (n, channels, *area), comes one filter per channel over the whole map, as faces are in
    one place and every place means something (Chen et al. 2018, MobileFaceNets, arXiv:1804.07573, section 3.1), then a
    linear layer and a norm. With the option ``mirrored`` an embedding is the sum of the face's and its mirror image's.
    """
    from torch import nn

    from sartor.blocks import NORM_EPS

    dimension = int(network.options["dimension"])
    embedder = nn.Sequential(
        body,
        nn.Conv2d(channels, channels, area, groups=channels, bias=False),
        nn.BatchNorm2d(channels, eps=NORM_EPS),
        nn.Flatten(),
        nn.Linear(channels, dimension, bias=False),
        nn.BatchNorm1d(dimension, eps=NORM_EPS, affine=False),
    )
    return compared(embedder, dimension, int(network.options["people"]), mirrored=bool(network.options["mirrored"]))


def compared(embedder: nn.Module, dimension: int, people: int, *, mirrored: bool) -> nn.Module:
    """A module that gives embeddings (n, dimension), and in training cosines with a vector per person, (n, people)."""
    import torch
    from torch import nn
    from torch.nn.functional import linear, normalize

    class Compared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedder = embedder
            self.people = nn.Parameter(torch.randn(people, dimension))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                cosines: Tensor = linear(normalize(self.embedder(x).float()), normalize(self.people.float()))
                return cosines
            if not mirrored:
                found: Tensor = self.embedder(x)
                return found
            straight, turned = self.embedder(torch.cat([x, x.flip(3)])).chunk(2)  # (n, d) each
            return normalize(straight) + normalize(turned)

    return Compared()


def recipe(network: Network, samples: int, epochs: float) -> Recipe:
    """Muon on filters, in batches that show many people at once."""
    plain = scaling.muon_recipe(network, samples, epochs)
    batch = max(plain.batch_size, LEAST_BATCH)
    return replace(
        plain,
        batch_size=batch,
        learning_rate=round(0.24 * math.sqrt(batch / 2000), 4),
        label_smoothing=0.0,
        ema_decay=scaling.averaging(samples, batch, epochs),
    )
