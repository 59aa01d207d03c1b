"""Networks of the catalogue with random weights, exported as they ship: what no drawing has seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sartor import registry
from sartor.errors import SartorError
from sartor.jobs import Kernel
from sartor.stages.predict.describe import cost_of
from sartor.stages.predict.kernels import in_batch

FAMILIES = (
    ("image-classification", ("resnet9", "mobile", "convnext-small"), ((32, 32), (96, 96))),
    ("image-segmentation", ("unet-small", "fast-scnn"), ((96, 96),)),
)


def names() -> list[tuple[str, str]]:
    """Family and network of each, as its file is called."""
    from sartor.testing import models

    found = []
    for task, families, sizes in FAMILIES:
        data = models.card(task=task)
        for family in families:
            for size in sizes:
                for network in models.networks(family, size, data=data):
                    found.append((family, f"{network.id}-{size[0]}".replace("/", "-")))
    return found


def export(files: Path, batches: tuple[int, ...], say: Callable[[str], None]) -> None:
    """Write the file of each at each batch, where it is not there yet."""
    import numpy as np
    import torch

    from sartor.stages.compress.convert import _write_onnx
    from sartor.testing import models

    files.mkdir(parents=True, exist_ok=True)
    for task_name, families, sizes in FAMILIES:
        task, data = registry.get("tasks", task_name), models.card(task=task_name)
        for family in families:
            for size in sizes:
                for network in models.networks(family, size, data=data):
                    stem = f"{family}-{network.id}-{size[0]}".replace("/", "-")
                    for batch in batches:
                        path = files / f"{stem}-b{batch}.onnx"
                        if path.is_file():
                            continue
                        example = np.repeat(task.example(network.input_size, network.encoding)[None], batch, axis=0)
                        torch.manual_seed(0)
                        try:
                            module = registry.get("models", family).build(network).eval().requires_grad_(False)
                            statistics = task.statistics(np.random.default_rng(0).integers(0, 256, example.shape))
                            _write_onnx(task.wrap(module, statistics).eval(), example, network.id, path)
                        except SartorError as refusal:
                            say(f"{stem}: {refusal}")


def traced(family: str, stem: str, batch: int) -> dict[str, tuple[Kernel, ...]]:
    """The kernels of a network of the catalogue in each runtime, as they are known before it is exported."""
    from sartor.testing import models

    for task, families, sizes in FAMILIES:
        for size in sizes if family in families else ():
            for network in models.networks(family, size, data=models.card(task=task)):
                if f"{network.id}-{size[0]}".replace("/", "-") == stem:
                    found = cost_of(network, task).kernels
                    return {runtime: in_batch(kernels, batch) for runtime, kernels in found.items()}
    raise KeyError(stem)
