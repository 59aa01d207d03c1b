"""Weights to begin with that another training made, cut to the network's own widths. Needs torch; import it lazily."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import nn

from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import Start, TrainJob
from sartor.networks import example
from sartor.prepared import PreparedData
from sartor.pruning import narrow
from sartor.stages.train._adapters import adapt
from sartor.stages.train._rounding import simulate
from sartor.stages.train._weights import built


def begun(job: TrainJob, data: PreparedData, workspace: Workspace | None) -> nn.Module:
    """The module of a job with the weights that its training begins with, on the CPU (the caller has seeded torch).

    Random ones, or a checkpoint's, where the recipe names no start, and without a workspace, when only its pace is
    asked for; with adapters on top where the recipe has them, with products rounded where it wants them so. Of layers
    that are wider than its own the channels with the largest weights stay, those of all coupled layers taken together
    (Fang et al. 2023, arXiv:2301.12900, group importance). Nothing is drawn: the same job always begins alike.

    Raises:
        Unsupported: ``WEIGHTS_MISMATCH``: those named are not of the network named, or fit no cut of it;
            ``NOT_PRUNABLE``, ``NO_ATTENTION``.
        MissingExtra: what cuts, or what adapts, is not installed.
    """
    module = built(job.network, data)
    if job.recipe.start is not None and workspace is not None:
        _take_over(module, job, job.recipe.start, data, workspace)
    if job.recipe.adapters:
        adapt(module, job.recipe.adapters, job.network.id)
    if job.recipe.weight_bits:
        simulate(module, job.recipe.weight_bits)
    return module


def _take_over(module: nn.Module, job: TrainJob, start: Start, data: PreparedData, workspace: Workspace) -> None:
    whole, widths = built(start.network, data), _widths(module)
    try:
        whole.load_state_dict(load_file(workspace.objects.path(start.weights)))
        if any(channels > widths.get(name, channels) for name, channels in _widths(whole).items()):
            blank = example(start.network, job.task)
            narrow(whole, blank, lambda name, channels: widths.get(name, channels), by_magnitude=True)
        module.load_state_dict(whole.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        what = f"weights of {start.network.id} cannot be what {job.network.id} begins with"
        raise Unsupported("WEIGHTS_MISMATCH", f"{what}: {reason}") from error


def _widths(module: nn.Module) -> dict[str, int]:
    """Channels of every layer by its name."""
    layers = (nn.modules.conv._ConvNd, nn.Linear)
    return {name: part.weight.shape[0] for name, part in module.named_modules() if isinstance(part, layers)}
