"""PyTorch eager in fp32: the reference a shipped candidate is compared with; never shipped itself.

Source: https://github.com/pytorch/pytorch (BSD-3-Clause).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.codec import from_plain
from sartor.errors import MissingExtra, SartorError, Unsupported
from sartor.networks import build
from sartor.registry import register
from sartor.types import Device, Network

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array


def _import() -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtra("the runtime torch", "train", "torch") from None
    return torch


@register("runtimes", "torch")
class TorchEager:
    """Rebuilds the network from the file's metadata and runs it as PyTorch would by default."""

    name: str
    title = "PyTorch eager"
    accepts = frozenset({"torch"})
    extra = "train"
    reference = True

    def version(self) -> str:
        return str(_import().__version__)

    def precisions(self, device: Device) -> Mapping[str, str]:
        return {"fp32": "none"}

    def load(self, path: Path, precision: str, threads: int) -> TorchSession:
        if precision != "fp32":
            raise Unsupported("NO_PRECISION", f"the reference runtime torch runs in fp32 only, not in {precision}")
        return TorchSession(path, threads)


class TorchSession:
    """One network with its weights, wrapped by its task."""

    effective_precision = "fp32"

    def __init__(self, path: Path, threads: int) -> None:
        torch = _import()
        self.version = str(torch.__version__)
        self._torch, self._name = torch, path.name
        torch.set_num_threads(threads)
        with contextlib.suppress(RuntimeError):  # torch allows it once per process, before any parallel work
            torch.set_num_interop_threads(1)
        self._module = _rebuild(path)

    def run(self, batch: Array) -> Array:
        """Prepared batch to outputs (batch, …)."""
        try:
            with self._torch.inference_mode():
                output = self._module(self._torch.from_numpy(batch))
        except RuntimeError as error:
            raise Unsupported("RUNTIME_FAILED", f"torch cannot run {self._name}: {_line(error)}") from None
        result: Array = (output.float() if output.is_floating_point() else output).numpy()
        return result


def _rebuild(path: Path) -> torch.nn.Module:
    """The module of a ``torch`` artifact: safetensors whose metadata names task, network and statistics."""
    try:
        from safetensors import safe_open
    except ImportError:
        raise MissingExtra("the runtime torch", "train", "safetensors") from None
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {})["sartor"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a mapping
        network, task_name, statistics = from_plain(Network, about["network"]), about["task"], about["statistics"]
    except Exception as error:  # safetensors raises a class of its own for a damaged file
        raise Unsupported(
            "RUNTIME_FAILED", f"{path.name} is no network in torch format ({_line(error)}); export it again"
        ) from None
    try:
        module = build(network, task_name)
        module.load_state_dict(weights, strict=True)
    except SartorError:
        raise
    except RuntimeError as error:
        raise Unsupported("RUNTIME_FAILED", f"{path.name} does not fit {network.id}: {_line(error)}") from None
    wrapped: torch.nn.Module = registry.get("tasks", task_name).wrap(module, statistics)
    return wrapped.eval()


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[-1].strip() if lines else type(error).__name__)[:300]
