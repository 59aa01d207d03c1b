"""Checkpoints that are whole or ignored: two generations, each a safetensors file and a record with its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from sartor.codec import canonical_json
from sartor.storage import write_bytes, write_text

_GENERATIONS = 2


def write_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, copied: bool = False
) -> int:
    """Write tensors, then the record that makes them valid, then drop what is older than two generations.

    Args:
        folder: of the training.
        step: that it has reached.
        tensors: by name.
        state: in its plain form.
        copied: no two of the tensors share memory.

    Returns:
        Bytes written.

    Raises:
        StorageError: full or read-only disk; the generations before are untouched.
    """
    # Copies: safetensors wants plain row-major memory that no two tensors share.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if not copied:
        plain = {name: tensor.clone() for name, tensor in plain.items()}
    content = save(plain)
    body = {"step": step, "state": dict(state), "sha256": hashlib.sha256(content).hexdigest()}
    write_bytes(folder / f"checkpoint-{step:09d}.safetensors", content)
    write_text(folder / f"checkpoint-{step:09d}.json", canonical_json({"body": body, "digest": _digest(body)}))
    for record in _records(folder)[_GENERATIONS:]:
        record.unlink(missing_ok=True)
        record.with_suffix(".safetensors").unlink(missing_ok=True)
    return len(content)


def read_checkpoint(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint: step, tensors, state; None when there is none.

    A record or a file with a single changed byte does not count; the generation before it is taken.
    """
    for record in _records(folder):
        with suppress(OSError, ValueError, KeyError, TypeError, SafetensorError):
            written = json.loads(record.read_bytes())
            body = written["body"]
            content = record.with_suffix(".safetensors").read_bytes()
            if written["digest"] == _digest(body) and body["sha256"] == hashlib.sha256(content).hexdigest():
                return int(body["step"]), load(content), dict(body["state"])
    return None


def tidy(folder: Path) -> None:
    """Remove what a kill left behind: temporary files, tensors without a record."""
    for stray in folder.glob(".checkpoint-*"):
        stray.unlink(missing_ok=True)
    for tensors in folder.glob("checkpoint-*.safetensors"):
        if not tensors.with_suffix(".json").exists():
            tensors.unlink(missing_ok=True)


def drop_checkpoints(folder: Path) -> None:
    """Remove all checkpoints of a finished training."""
    for path in folder.glob("checkpoint-*"):
        path.unlink(missing_ok=True)


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """All tensors of the optimizers' states by name; they hold nothing else."""
    return {
        f"optimizer.{number}.{index}.{key}": value
        for number, optimizer in enumerate(optimizers)
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }


def restore_optimizers(optimizers: list[torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`optimizer_tensors`."""
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer" and rest.startswith(f"{number}."):
                _, index, key = rest.split(".", 2)
                state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        for parameter, entries in optimizer.state.items():
            for key, value in entries.items():
                if value.shape == parameter.shape:  # in the memory layout it was saved from
                    entries[key] = torch.empty_like(parameter).copy_(value)


def _records(folder: Path) -> list[Path]:
    """Records, newest first."""
    return sorted(folder.glob("checkpoint-*.json"), reverse=True)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(body).encode()).hexdigest()
