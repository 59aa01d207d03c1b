"""Finds the folder of a checkpoint: a local one as it is, one of the hub brought here once and kept in its cache."""

from __future__ import annotations

from pathlib import Path

from sartor.errors import MissingExtra, SartorError
from sartor.reading.hub import HUB

FILES = (
    *("config.json", "model.safetensors", "preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.txt"),
)
"""What is fetched: data that is read without running any of it. Pickled weights and code stay where they are."""


def checkpoint_folder(address: str) -> Path:
    """The folder behind ``model``: a path, ``hub:owner/name`` or ``hub:owner/name@revision``.

    A folder of the hub is named after the commit it holds, so a later commit makes other candidates.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        SartorError: the hub has no such checkpoint, or cannot be reached and has not been before.
    """
    if not address.startswith(HUB):
        return Path(address)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("a checkpoint of the hub", "hub", "huggingface_hub") from None
    name, _, revision = address.removeprefix(HUB).partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))
    except Exception as error:  # network, missing id, gated, disk: all from inside the library
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise SartorError(
            f"model: {address} cannot be fetched ({reason}); check the id and the network, or give a folder"
        ) from error
