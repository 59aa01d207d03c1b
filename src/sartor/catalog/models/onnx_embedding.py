"""Pretrained face networks as ONNX files: frozen, asked as they are, and fitted only in how they want their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import onnx_graphs
from sartor.catalog.models.parts.given_family import GivenFamily
from sartor.errors import Refused
from sartor.registry import register
from sartor.types import Network

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from sartor.catalog.contracts import Array

_ENCODING = "aligned-or-whole"  # what face networks have learnt from are faces laid straight
_MIDDLE, _SPREAD = 127.5, 60.0
"""Brightness and contrast that every face is brought to: those of a well-lit photograph, 0..255."""

_RANGES = ((1.0, 0.0), (1 / 127.5, -1.0), (1 / 255.0, 0.0))
"""Scale and shift from 0..255 to the ranges that networks are trained with: 0..255, -1..1, 0..1."""

_LEAST_NUMBERS = 16  # of an embedding; fewer are a guess at an age or a sex
_MOST_TRIED = 96  # pictures: each is asked for every range and order of colours


@register("models", "onnx-embedding")
class OnnxEmbedding(GivenFamily):
    """A network from elsewhere that gives embeddings of faces, as it is: ``model: path.onnx``.

    Which range of pixels and which order of colours it takes, no file says: fitting tries them on pictures of train and
    keeps the one by which people are told apart best. Each face is brought to one brightness and contrast first.

    ``options``: ``{"file": path, "sha256": …, "output": name, "dimension": …}``, made by :meth:`checkpoint_variant`.
    """

    name: str
    tasks = frozenset({"face-recognition"})

    def checkpoint_variant(self, path: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that runs a file, at the size of its input.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is no file ``.onnx``.
            Refused: it is no ONNX file, takes no pictures or gives no embeddings.
        """
        model, entry = self.opened(path)
        side = max((min(size) for size in sizes), default=112)
        size = entry.size or (side, side)
        exits = onnx_graphs.exits_of(model, entry, size)
        rows = [one for one in exits if len(one.sides) == 2 and one.sides[1] >= _LEAST_NUMBERS]
        if not rows or entry.whole or entry.channels != 3:
            raise Refused(
                f"{path.name} gives {onnx_graphs.shown(exits)} for floats; an embedding is (n, d) with a fixed d of at "
                f"least {_LEAST_NUMBERS}"
            )
        embedding = max(rows, key=lambda one: one.sides[1])
        options = {**onnx_graphs.options_of(path), "output": embedding.name, "dimension": embedding.sides[1]}
        return Variant(path.stem, options, size, _ENCODING)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to embeddings (n, dimension).

        Raises:
            Refused: the file has changed since the run began.
        """
        import torch
        from torch import nn

        content = onnx_graphs.unchanged_content(network.options)
        entry = onnx_graphs.entry_of(onnx_graphs.read_graph(content, network.variant), network.variant)

        class Embedding(nn.Module):
            graph: Tensor  # the file's bytes
            colours: Tensor  # (3, 3), from red, green, blue to what the network takes
            shift: Tensor  # (3,)

            def __init__(self) -> None:
                super().__init__()
                self.entry, self.outputs = entry, (network.options["output"],)
                self.dimension = int(network.options["dimension"])
                self.running = onnx_graphs.Running(entry, self.outputs)
                self.register_buffer("graph", torch.frombuffer(bytearray(content), dtype=torch.uint8))
                self.register_buffer("colours", torch.eye(3))
                self.register_buffer("shift", torch.zeros(3))

            def forward(self, x: Tensor) -> Tensor:
                pixels = (x * _SPREAD + _MIDDLE).clamp(0.0, 255.0)
                turned = torch.einsum("oc,nchw->nohw", self.colours, pixels) + self.shift[:, None, None]
                (found,) = self.running(self.graph, turned)
                embeddings: Tensor = found.to(x)
                return embeddings

        return Embedding()

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose range and order of colours by the area under the curve of pairs of train's first pictures."""
        import torch

        from sartor.catalog.models.parts.frozen_features import told_apart

        kept: list[Tensor] = []
        owners: list[Tensor] = []
        for inputs, people in batches():
            kept.append(inputs)
            owners.append(people)
            if sum(map(len, kept)) >= _MOST_TRIED:
                break
        faces, people = torch.cat(kept)[:_MOST_TRIED], torch.cat(owners)[:_MOST_TRIED]
        colours, shift = module.get_buffer("colours"), module.get_buffer("shift")
        tried = []
        for scale, offset in _RANGES:
            for order in ([0, 1, 2], [2, 1, 0]):
                colours.copy_(scale * torch.eye(3)[order])
                shift.fill_(offset)
                tried.append((told_apart(module(faces), people), scale, offset, order))
        _, scale, offset, order = max(tried, key=lambda one: one[0])  # the first of equals
        colours.copy_(scale * torch.eye(3)[order])
        shift.fill_(offset)

    def to_onnx(self, shipped: nn.Module, example: Array) -> ModelProto:
        """One graph: a face to one brightness and contrast, the network's own pixels, the network, length 1."""
        import numpy as np
        from onnx import TensorProto, helper

        wrapped: Any = shipped
        module = wrapped.module
        constants: dict[str, Array] = {
            "mean_of": np.full((1, 3, 1, 1), 1 / 3, np.float32),
            "least": np.array(wrapped.least_contrast, np.float32),
            "zero": np.array(0, np.float32),
            "middle": np.array(_MIDDLE, np.float32),
            "spread": np.array(_SPREAD, np.float32),
            "white": np.array(255, np.float32),
            "colours": module.colours.numpy()[:, :, None, None].copy(),
            "shift": module.shift.numpy().copy(),
            "ones": np.ones((module.dimension, 1), np.float32),
            "flat": np.array([-1, 1], np.int64),
            "tiny": np.array(1e-12, np.float32),
        }

        def node(operator: str, output: str, *inputs: str, **attributes: Any) -> Any:
            return helper.make_node(operator, inputs, [output], **attributes)

        layout = [0, 2, 3, 1] if module.entry.channels_last else [0, 1, 2, 3]
        before = [
            node("Cast", "floats", "input", to=TensorProto.FLOAT),
            node("Transpose", "planes", "floats", perm=[0, 3, 1, 2]),
            node("GlobalAveragePool", "plane_means", "planes"),
            node("Conv", "mean", "plane_means", "mean_of"),
            node("Sub", "centred", "planes", "mean"),
            node("Mul", "squares", "centred", "centred"),
            node("GlobalAveragePool", "plane_squares", "squares"),
            node("Conv", "variance", "plane_squares", "mean_of"),
            node("Sqrt", "deviation", "variance"),
            node("Max", "contrast", "deviation", "least"),
            node("Div", "standard", "centred", "contrast"),
            node("Mul", "spread_out", "standard", "spread"),
            node("Add", "lifted", "spread_out", "middle"),
            node("Max", "above", "lifted", "zero"),
            node("Min", "pixels", "above", "white"),
            node("Conv", "turned", "pixels", "colours", "shift"),
            node("Transpose", onnx_graphs.TAKEN, "turned", perm=layout),
        ]
        given = onnx_graphs.GIVEN.format(0)
        after = [
            node("Greater", "has_face", "deviation", "zero"),
            node("Cast", "shown", "has_face", to=TensorProto.FLOAT),
            node("Reshape", "shown_rows", "shown", "flat"),
            node("Mul", "own_squares", given, given),
            node("MatMul", "own_sum", "own_squares", "ones"),
            node("Add", "positive", "own_sum", "tiny"),
            node("Sqrt", "length", "positive"),
            node("Mul", "kept", given, "shown_rows"),
            node("Div", "output", "kept", "length"),
        ]
        model = onnx_graphs.read_graph(module.graph.numpy().tobytes(), "the given model")
        around = onnx_graphs.Around(before, after, constants)
        result = (example.shape[0], module.dimension, TensorProto.FLOAT)
        return onnx_graphs.joined(model, module.entry, module.outputs, around, example.shape, result)
