"""What a frozen network makes of the training data: computed once and kept beside it. Needs torch; import it lazily."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sartor import registry
from sartor.catalog.models.parts.checkpoints import FILES
from sartor.codec import digest
from sartor.jobs import TrainJob
from sartor.prepared import Array, PreparedData
from sartor.stages.train._feed import in_sequence
from sartor.storage import file_sha256
from sartor.types import Network

_AT_ONCE = 1024  # samples; a family may sort them by length


def frozen_features(family: Any, module: nn.Module, job: TrainJob, data: PreparedData) -> tuple[Tensor, bool]:
    """Vectors (n, width) of the training samples by the family's ``encode``, and whether an earlier training made them.

    They are named by what they depend on: the content of the checkpoint's files, the family's other options, how
    samples are prepared, and the version of torch. Neither seed, head nor threads count: runs with other ones share
    them.

    Raises:
        StorageError: the disk is full.
    """
    network = job.network
    train = data.split("train")

    def rows() -> Iterator[Array]:
        task = registry.get("tasks", job.task)
        statistics = data.statistics(network.input_size, network.encoding)
        samples, blanks = train.prepared(network.input_size, network.encoding), np.zeros(len(train))
        with torch.inference_mode():
            for inputs, _ in in_sequence(samples, blanks, _AT_ONCE, torch.device("cpu")):
                yield from family.encode(module, task.normalise(inputs, statistics)).float().numpy()

    found, kept = train.derived(f"features-{_content(network)}", rows, network.input_size, network.encoding)
    return torch.from_numpy(np.array(found)), kept


def _content(network: Network) -> str:
    """Digest of what an encoder is, wherever its folder lies."""
    options = {name: value for name, value in network.options.items() if name != "checkpoint"}
    folder = network.options.get("checkpoint")
    files = {name: file_sha256(path) for name in FILES if folder and (path := Path(folder) / name).is_file()}
    return digest({"family": network.model, "options": options, "files": files, "torch": str(torch.__version__)})[:24]
