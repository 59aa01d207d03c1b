"""Networks with random weights for ``runtimes.py``: plain torch, transformers' own, and the catalogue's as they ship.

How fast a graph runs does not depend on its weights. Norms that would see nothing but noise are set on a few inputs,
so that activations stay in range.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor import registry
from sartor.types import Network

Array = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[np.random.Generator, int], Array]
CLASSES = 10


@dataclass(frozen=True)
class Model:
    """A network to be built.

    Args:
        kind: what it is like, for ratios by class.
        task: whose graphs it is among: what was learnt of threads holds within a task.
        build: the module as it is deployed.
        draw: prepared input of a batch size.
    """

    kind: str
    task: str
    build: Callable[[], nn.Module]
    draw: Draw


def pictures(side: int) -> Draw:
    """Floats (n, 3, side, side)."""
    return lambda chance, n: chance.standard_normal((n, 3, side, side), dtype=np.float32)


def rows(width: int) -> Draw:
    """Floats (n, width)."""
    return lambda chance, n: chance.standard_normal((n, width), dtype=np.float32)


def words(length: int, vocabulary: int, kind: str = "int64") -> Draw:
    """Ids (n, length)."""
    return lambda chance, n: chance.integers(1, vocabulary, (n, length)).astype(kind)


class Logits(nn.Module):
    """A network of transformers, its answer alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(x).logits
        return logits


def _of_transformers(config: str, model: str, **options: Any) -> nn.Module:
    import transformers

    return Logits(getattr(transformers, model)(getattr(transformers, config)(num_labels=CLASSES, **options)))


def _resnet(depths: list[int], sizes: list[int], layer: str) -> nn.Module:
    return _of_transformers(
        "ResNetConfig", "ResNetForImageClassification", depths=depths, hidden_sizes=sizes, layer_type=layer,
        embedding_size=64,
    )  # fmt: skip


def _bert(hidden: int, layers: int) -> nn.Module:
    return _of_transformers(
        "BertConfig", "BertForSequenceClassification", vocab_size=8000, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, intermediate_size=4 * hidden, attn_implementation="eager",
    )  # fmt: skip


def _vit() -> nn.Module:
    return _of_transformers(
        "ViTConfig", "ViTForImageClassification", hidden_size=192, num_hidden_layers=12, num_attention_heads=3,
        intermediate_size=768, image_size=128, patch_size=16, attn_implementation="eager",
    )  # fmt: skip


def _resnet8() -> nn.Module:
    """ResNet-8 of MLPerf Tiny: three residual blocks of 16, 32 and 64 channels."""

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
            )  # fmt: skip
            self.skip = nn.Identity() if stride == 1 else nn.Conv2d(inputs, width, 1, stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.body(x) + self.skip(x))

    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES),
    )  # fmt: skip


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
        nn.Linear(512, CLASSES),
    )  # fmt: skip


def _ours(task: str, family: str, size: tuple[int, ...], draw: Draw, kind: str, **options: Any) -> Model:
    """A network of the catalogue with everything its task ships around it."""

    def build() -> nn.Module:
        plugin = registry.get("tasks", task)
        statistics = plugin.statistics(draw(np.random.default_rng(0), 8))
        module = registry.get("models", family).build(Network(family, "", options, size, CLASSES))
        wrapped: nn.Module = plugin.wrap(module, statistics)
        return wrapped

    return Model(kind, task, build, draw)


def bytes_of_pictures(side: int) -> Draw:
    """Bytes (n, side, side, 3), as the tasks prepare pictures."""
    return lambda chance, n: chance.integers(0, 256, (n, side, side, 3), dtype=np.uint8)


_CLASSIFY, _TEXTS = "image-classification", "text-classification"
MODELS: Mapping[str, Model] = {
    "resnet-8": Model("ResNet", _CLASSIFY, _resnet8, pictures(32)),
    "resnet-18": Model("ResNet", _CLASSIFY, lambda: _resnet([2] * 4, [64, 128, 256, 512], "basic"), pictures(128)),
    "resnet-50": Model(
        "ResNet", _CLASSIFY, lambda: _resnet([3, 4, 6, 3], [256, 512, 1024, 2048], "bottleneck"), pictures(128)
    ),
    "mobilenet-v2": Model(
        "MobileNet",
        _CLASSIFY,
        lambda: _of_transformers("MobileNetV2Config", "MobileNetV2ForImageClassification", image_size=128),
        pictures(128),
    ),
    "convnext-small": _ours(
        _CLASSIFY, "convnext-small", (64, 64), bytes_of_pictures(64), "other", widths=[64, 128], depths=[2, 4], kernel=5
    ),
    "vit-tiny": Model("other", _CLASSIFY, _vit, pictures(128)),
    "mlp": Model("other", "tabular-classification", _mlp, rows(256)),
    "text-gru": _ours(
        _TEXTS, "text-gru", (32,), words(32, 5000, "int32"), "other", vocabulary=5000, width=64, state=64
    ),
    "text-linear": _ours(_TEXTS, "text-linear", (64,), words(64, 20_000, "int32"), "other", terms=20_000),
    "bert-mini": Model("BERT", _TEXTS, lambda: _bert(256, 4), words(64, 8000)),
    "bert-base": Model("BERT", _TEXTS, lambda: _bert(768, 12), words(32, 8000)),
    "unet-small": _ours(
        "image-segmentation", "unet-small", (96, 96), bytes_of_pictures(96), "other", widths=[16, 24, 48, 96, 160]
    ),
    "dense-detector": _ours(
        "object-detection", "dense-detector", (128, 128), bytes_of_pictures(128), "other",
        widths=[16, 24, 48, 96, 128], depths=[1, 1, 1, 1], neck=48,
    ),
}  # fmt: skip
SMOKE = ("mlp", "text-linear")


def build(name: str) -> nn.Module:
    """A network with seeded weights, ready to answer."""
    torch.manual_seed(0)
    module = MODELS[name].build()
    _settle_norms(module, torch.from_numpy(MODELS[name].draw(np.random.default_rng(1), 16)))
    return module.eval()


def _settle_norms(module: nn.Module, batch: torch.Tensor) -> None:
    """Give batch norms the statistics of a batch."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return
    for part in norms:
        part.momentum = None  # the mean of what they see
    module.train()
    with torch.no_grad():
        module(batch)
