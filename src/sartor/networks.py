"""From a network to its module: what its family builds, cut to the share of channels that the network keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor import pruning, registry
from sartor.types import Network

if TYPE_CHECKING:
    from torch import Tensor, nn


def build(network: Network, task: str) -> nn.Module:
    """The module with random weights, on torch's default device (the caller has seeded torch).

    Args:
        network: of any family of the catalogue.
        task: name of the task whose inputs it takes.

    Raises:
        Unsupported: ``NOT_PRUNABLE``, ``MISSING_EXTRA``, or what its family declines.
    """
    module: nn.Module = registry.get("models", network.model).build(network)
    share = pruning.share_of(network)
    if share < 1:
        pruning.narrow(module, example(network, task), lambda _, channels: pruning.width(channels, share))
    return module


def example(network: Network, task: str) -> Tensor:
    """A blank input (1, …) as the network's module takes it, on torch's default device."""
    import torch

    plugin = registry.get("tasks", task)
    blank = plugin.example(network.input_size, network.encoding)[None]
    given = torch.from_numpy(blank).to(torch.get_default_device())
    normalised: Tensor = plugin.normalise(given, plugin.statistics(blank)).contiguous()
    return normalised
