"""Weights to begin with that another training made, cut to the network's own widths. Needs torch; import it lazily.

Source: Molchanov et al. 2019, "Importance estimation for neural network pruning", arXiv:1906.10771 (a channel's worth is
how much the loss would change without it, to first order), summed over coupled layers as by Fang et al. 2023,
arXiv:2301.12900.
"""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sartor import registry
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.networks import example
from sartor.prepared import PreparedData
from sartor.pruning import narrow
from sartor.stages.train._feed import Feed, scaled
from sartor.stages.train._weights import built

BATCHES = 16  # of train tell what a channel is worth


def begun(job: TrainJob, data: PreparedData, workspace: Workspace | None) -> nn.Module:
    """The module of a job with the weights that its training begins with, on the CPU (the caller has seeded torch).

    Random ones where the recipe names no start, and without a workspace, which tells no more than how fast it trains.

    Raises:
        Unsupported: ``WEIGHTS_MISMATCH``: those named are not of the network named, or fit no cut of it;
            ``NOT_PRUNABLE``, ``UNKNOWN_IMPORTANCE``.
    """
    module = built(job.network, data)
    start = job.recipe.start
    if start is None or workspace is None:
        return module
    whole, widths = built(start.network, data), _widths(module)
    try:
        whole.load_state_dict(load_file(workspace.objects.path(start.weights)))
        if _widths(whole) != widths:
            blank = example(start.network, job.task)
            narrow(whole, blank, lambda name, channels: widths.get(name, channels), _scores(whole, job, data))
        module.load_state_dict(whole.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        what = f"weights of {start.network.id} cannot be what {job.network.id} begins with"
        raise Unsupported("WEIGHTS_MISMATCH", f"{what}: {reason}") from error
    return module


def _widths(module: nn.Module) -> dict[str, int]:
    """Channels of every layer by its name."""
    layers = (nn.modules.conv._ConvNd, nn.Linear)
    return {name: part.weight.shape[0] for name, part in module.named_modules() if isinstance(part, layers)}


def _scores(module: nn.Module, job: TrainJob, data: PreparedData) -> Any:
    """Of a group of coupled layers, what each of its channels is worth, by the measure that the job names."""
    start = job.recipe.start
    assert start is not None
    if start.importance == "magnitude":
        from torch_pruning.pruner.importance import GroupMagnitudeImportance

        return GroupMagnitudeImportance(p=2)
    if start.importance == "first":
        return None
    if start.importance != "taylor":
        raise Unsupported("UNKNOWN_IMPORTANCE", f"channels are ranked by taylor or magnitude, not {start.importance!r}")
    worth = _worth(module, job, data)

    def of_group(group: Any) -> Tensor:
        layers = [(item.dep.target.module, item.root_idxs) for item in group if item.dep.target.module in worth]
        norms = [pair for pair in layers if isinstance(pair[0], nn.modules.batchnorm._BatchNorm)]
        root = group[0].dep.target.module
        scores = torch.zeros(len(group[0].idxs))
        for layer, places in norms or [(root, group[0].root_idxs)]:
            scores.index_add_(0, torch.tensor(places), worth[layer])
        return scores

    return of_group


def _worth(module: nn.Module, job: TrainJob, data: PreparedData) -> dict[nn.Module, Tensor]:
    """By layer, how much the loss would change without each of its channels: mean square over batches, first order.

    A filter with a norm behind it says nothing of that: the loss does not change with its length. The norm does.
    """
    task = registry.get("tasks", job.task)
    loss = getattr(registry.get("models", job.network.model), "loss", task.loss)
    size, encoding, train = job.network.input_size, job.network.encoding, data.split("train")
    statistics = data.statistics(size, encoding)
    samples, targets = train.prepared(size, encoding), train.targets(size, encoding)
    feed = Feed(samples, targets, job.recipe.batch_size, job.seed, torch.device("cpu"))
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.modules.batchnorm._BatchNorm)
    layers = [part for part in module.modules() if isinstance(part, kinds) and part.weight is not None]
    found: dict[nn.Module, Tensor] = {layer: torch.zeros(layer.weight.shape[0]) for layer in layers}
    module.train()
    for step in range(BATCHES):
        module.zero_grad()
        inputs, truths = feed.batch(step)
        outputs = module(task.normalise(inputs, statistics))
        loss(outputs, scaled(task, truths, statistics), job.recipe.label_smoothing).backward()
        for layer in layers:
            change = sum(
                (parameter * parameter.grad).flatten(1).sum(1) if parameter.ndim > 1 else parameter * parameter.grad
                for parameter in (layer.weight, layer.bias)
                if parameter is not None and parameter.grad is not None
            )
            if isinstance(change, Tensor):
                found[layer] += change.detach() ** 2
    module.zero_grad()
    return found
