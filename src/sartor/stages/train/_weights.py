"""How finished weights are kept, and under which conditions they came about. Needs torch; import it lazily."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from sartor import registry
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.networks import build
from sartor.prepared import PreparedData
from sartor.storage import write_bytes
from sartor.types import Artifact, Network


def built(network: Network, data: PreparedData) -> nn.Module:
    """The module with random weights (the caller has seeded torch), with what its family wants to know of the data."""
    family = registry.get("models", network.model)
    module = build(network, data.card.task)
    furnish = getattr(family, "furnish", None)
    if furnish is not None:
        furnish(module, data.recalled(network.input_size, network.encoding))
    denormalise = getattr(family, "denormalise", None)
    if denormalise is not None:
        denormalise(module, data.statistics(network.input_size, network.encoding))
    return module


def keep_weights(module: nn.Module, workspace: Workspace, scratch: Path) -> Artifact:
    """Put a network's state into the object store as safetensors, one plain copy of every tensor."""
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    path = scratch / "weights.safetensors"
    write_bytes(path, save(tensors))
    return workspace.objects.take(path, format="safetensors", made_by="train")


def conditions(device: torch.device, dtype: torch.dtype, job: TrainJob) -> Mapping[str, Any]:
    """What the result depends on beside the job."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    precisions = {torch.bfloat16: "bf16", torch.float16: "fp16"}
    return {
        "device": name,
        "precision": precisions.get(dtype, "fp32"),
        "threads": job.threads,
        "torch": str(torch.__version__),
    }
