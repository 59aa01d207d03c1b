"""Pretrained face networks as ONNX files: frozen, asked as they are, and fitted only in how they want their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import onnx_graphs
from sartor.errors import Refused, Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.storage import file_sha256
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import Tensor, nn

    from sartor.catalog.contracts import Array

_ENCODING = "aligned-or-whole"  # what face networks have learnt from are faces laid straight
_MIDDLE, _SPREAD = 127.5, 60.0
"""Brightness and contrast that every face is brought to: those of a well-lit photograph, 0..255."""

_RANGES = ((1.0, 0.0), (1 / 127.5, -1.0), (1 / 255.0, 0.0))
"""Scale and shift from 0..255 to the ranges that networks are trained with: 0..255, -1..1, 0..1."""

_MOST_TRIED = 96  # pictures: each is asked for every range and order of colours


@register("models", "onnx-embedding")
class OnnxEmbedding:
    """A network from elsewhere that gives embeddings of faces, as it is: ``model: path.onnx``.

    Which range of pixels and which order of colours it takes, no file says: fitting tries them on pictures of train and
    keeps the one by which people are told apart best. Each face is brought to one brightness and contrast first.

    ``options``: ``{"file": path, "sha256": …, "dimension": …}``, made by :meth:`checkpoint_variant`.
    """

    name: str
    tasks = frozenset({"face-recognition"})
    provenance = Provenance("a file of yours", "its own", "https://onnx.ai")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """None without a file.

        Raises:
            Unsupported: always.
        """
        raise Unsupported("NEEDS_CHECKPOINT", "onnx-embedding runs a given network; name one with model: file.onnx")

    def checkpoint_variant(self, path: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that runs a file, at the size of its input.

        Raises:
            Unsupported: ``OTHER_CHECKPOINT``: it is a folder.
            Refused: it is no ONNX file, takes no pictures or gives no embeddings.
        """
        if path.is_dir():
            raise Unsupported("OTHER_CHECKPOINT", f"onnx-embedding runs a file; {path} is a folder")
        ports = onnx_graphs.ports_of(onnx_graphs.read_graph(_content(path), path.name), path.name)
        side = max((min(size) for size in sizes), default=112)
        options = {"file": str(path.resolve()), "sha256": file_sha256(path), "dimension": ports.dimension}
        return Variant(path.stem, options, ports.size or (side, side), _ENCODING)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to embeddings (n, dimension).

        Raises:
            Refused: the file has changed since the run began.
        """
        import torch
        from torch import nn

        path, sha256 = Path(network.options["file"]), network.options["sha256"]
        content = _content(path)
        if file_sha256(path) != sha256:
            raise Refused(f"{path} has changed since the run began; start a new run")
        ports = onnx_graphs.ports_of(onnx_graphs.read_graph(content, path.name), path.name)

        class Embedding(nn.Module):
            graph: Tensor  # the file's bytes
            colours: Tensor  # (3, 3), from red, green, blue to what the network takes
            shift: Tensor  # (3,)

            def __init__(self) -> None:
                super().__init__()
                self.ports, self.running = ports, onnx_graphs.Running(ports)
                self.register_buffer("graph", torch.frombuffer(bytearray(content), dtype=torch.uint8))
                self.register_buffer("colours", torch.eye(3))
                self.register_buffer("shift", torch.zeros(3))

            def forward(self, x: Tensor) -> Tensor:
                pixels = (x * _SPREAD + _MIDDLE).clamp(0.0, 255.0)
                turned = torch.einsum("oc,nchw->nohw", self.colours, pixels) + self.shift[:, None, None]
                found: Tensor = self.running(self.graph, turned)
                return found

        return Embedding()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Fitting is not repeated."""
        return Recipe(1.0, 32, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Choose range and order of colours by the area under the curve of pairs of train's first pictures."""
        import torch

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
        ports = module.ports
        constants: dict[str, Array] = {
            "mean_of": np.full((1, 3, 1, 1), 1 / 3, np.float32),
            "least": np.array(wrapped.least_contrast, np.float32),
            "zero": np.array(0, np.float32),
            "middle": np.array(_MIDDLE, np.float32),
            "spread": np.array(_SPREAD, np.float32),
            "white": np.array(255, np.float32),
            "colours": module.colours.numpy()[:, :, None, None].copy(),
            "shift": module.shift.numpy().copy(),
            "ones": np.ones((ports.dimension, 1), np.float32),
            "flat": np.array([-1, 1], np.int64),
            "tiny": np.array(1e-12, np.float32),
        }

        def node(operator: str, output: str, *inputs: str, **attributes: Any) -> Any:
            return helper.make_node(operator, inputs, [output], **attributes)

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
            node("Transpose", onnx_graphs.TAKEN, "turned", perm=[0, 2, 3, 1] if ports.channels_last else [0, 1, 2, 3]),
        ]
        given = onnx_graphs.GIVEN
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
        return onnx_graphs.joined(model, ports, before, after, constants, example.shape)


def told_apart(embeddings: Tensor, people: Tensor) -> float:
    """How often a pair of one person is more similar than one of strangers; 0.5 where there is no such pair."""
    import torch
    from torch.nn.functional import normalize

    unit = normalize(embeddings.double().nan_to_num())
    above = torch.triu_indices(len(unit), len(unit), 1)
    cosines = (unit @ unit.T)[above[0], above[1]]
    same = people[above[0]] == people[above[1]]
    if not same.any() or same.all():
        return 0.5
    own, others = cosines[same], cosines[~same].sort().values
    below = torch.searchsorted(others, own) + torch.searchsorted(others, own, right=True)
    return float(below.double().mean() / 2 / len(others))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} cannot be read ({error.strerror}); give an ONNX file") from None
