"""Networks with fewer channels: how wide their layers are, and how a module is cut to such widths.

The widths depend on the architecture and on the share that is kept, never on weights. So a pruned network has its cost
before it has its weights, like any other.

Source: Fang et al. 2023, "DepGraph: towards any structural pruning", arXiv:2301.12900, by torch-pruning (MIT). Heavy
packages are imported inside functions.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sartor.errors import MissingExtra, Unsupported
from sartor.types import Network

if TYPE_CHECKING:
    from torch import Tensor, nn

OPTION = "pruned_to"
"""Key of ``Network.options``: the share of its channels that a network keeps."""

_STEPS = ((32, 8), (8, 4))  # channels from which widths are multiples of so many: kernels compute that many at once


def is_installed() -> bool:
    """Whether anything can be pruned here."""
    return importlib.util.find_spec("torch_pruning") is not None


def pruned(network: Network, share: float) -> Network:
    """The network that keeps a share of its channels, ``resnet9-m-pruned-to-70`` for 0.7 of ``resnet9-m``."""
    name = f"{network.variant}-pruned-to-{round(100 * share)}".lstrip("-")
    return replace(network, variant=name, options={**network.options, OPTION: share})


def share_of(network: Network) -> float:
    """The share of its channels that a network keeps; 1 where it was not pruned."""
    return float(network.options.get(OPTION, 1.0))


def width(channels: int, share: float) -> int:
    """Channels kept of a layer: a multiple of 8 of wide ones, of 4 of others, one step at least."""
    step = next((step for least, step in _STEPS if channels >= least), 1)
    return min(channels, max(step, round(channels * share / step) * step))


def narrow(
    module: nn.Module, example: Tensor, wanted: Callable[[str, int], int], *, by_magnitude: bool = False
) -> nn.Module:
    """Cut the layers of a module, in place, to the widths wanted; layers that its outputs consist of keep theirs.

    Args:
        module: with weights, random or trained.
        example: an input (1, …) on the module's device.
        wanted: from a layer's name and its channels to the channels it is to keep.
        by_magnitude: the channels with the largest weights stay, over all coupled layers; else the first ones.

    Returns:
        The module.

    Raises:
        Unsupported: ``NOT_PRUNABLE``: it cannot be traced, no longer runs without some of its channels, or has none
            that could be left out; ``MISSING_EXTRA``.
    """
    if not is_installed():
        raise Unsupported("MISSING_EXTRA", str(MissingExtra("pruning", "prune", "torch-pruning")))
    training = module.training
    try:
        before = _shapes(module.eval(), example)
        cut = _cut(module, example, wanted, by_magnitude=by_magnitude)
        after = _shapes(module, example)
    except Exception as error:  # torch-pruning traces whatever a family wrote, and fails in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Unsupported("NOT_PRUNABLE", f"its channels cannot be pruned: {reason}") from error
    if after != before:
        raise Unsupported("NOT_PRUNABLE", f"without some of its channels it gives {after}, not {before}")
    if not cut:
        raise Unsupported("NOT_PRUNABLE", "it has no channels that could be left out")
    return module.train(training)


def _shapes(module: nn.Module, example: Tensor) -> list[tuple[int, ...]]:
    """The shapes of all tensors that a module answers with."""
    import torch
    from torch.utils._pytree import tree_leaves

    with torch.no_grad():
        return [tuple(leaf.shape) for leaf in tree_leaves(module(example)) if isinstance(leaf, torch.Tensor)]


def _cut(module: nn.Module, example: Tensor, wanted: Callable[[str, int], int], *, by_magnitude: bool) -> int:
    """Prune every group of coupled layers; how many of them became narrower."""
    import torch
    from torch import nn
    from torch_pruning import DependencyGraph
    from torch_pruning.pruner.importance import GroupMagnitudeImportance

    magnitude = GroupMagnitudeImportance(p=2)
    names = {part: name for name, part in module.named_modules()}
    with torch.enable_grad():  # the graph is read from what autograd would do
        graph = DependencyGraph().build_dependency(module, example_inputs=example, verbose=False)
    kinds, count = [nn.modules.conv._ConvNd, nn.Linear], 0
    for group in graph.get_all_groups(ignored_layers=_answering(graph), root_module_types=kinds):
        root, function = group[0].dep.target.module, group[0].dep.handler
        channels = graph.get_out_channels(root)
        keep = wanted(names[root], channels)
        if keep < channels:
            order: Sequence[int] = range(channels)
            if by_magnitude:
                order = magnitude(group).argsort(descending=True, stable=True).tolist()
            graph.get_pruning_group(root, function, sorted(order[keep:])).prune()
            count += 1
    return count


def _answering(graph: Any) -> list[nn.Module]:
    """Layers whose channels reach an output with no other layer between that would mix them anew."""
    return [part for part, node in graph.module2node.items() if _mixes(part) and _reaches_an_output(node)]


def _reaches_an_output(node: Any) -> bool:
    waiting, seen = list(node.outputs), {id(node)}
    if not waiting:
        return True
    while waiting:
        other = waiting.pop()
        if id(other) in seen or _mixes(other.module):
            continue
        seen.add(id(other))
        if not other.outputs:
            return True
        waiting += other.outputs
    return False


def _mixes(part: Any) -> bool:
    """True for a layer each of whose outputs is made of all its inputs."""
    from torch import nn

    return isinstance(part, nn.Linear) or (isinstance(part, nn.modules.conv._ConvNd) and part.groups == 1)
