"""Architectures of Hugging Face transformers with random weights or those of a local checkpoint. Torch in functions.

A checkpoint folder is data from strangers. Its ``config.json`` may only hold keys that the architecture's own
configuration class declares, nothing in it can name code, and weights are read from safetensors only; the library's
own loader, which follows such names, is never called on the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.errors import MissingExtra, Refused, Unsupported
from sartor.storage import file_sha256

if TYPE_CHECKING:
    from torch import Tensor, nn

_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
FILES = (_CONFIG, _WEIGHTS)
"""Of a checkpoint's folder, those that say which network it is."""
_LARGEST_CONFIG = 1_000_000  # bytes
_INERT_KEYS = frozenset(  # notes that transformers writes into every config and that choose nothing we use
    ["architectures", "dtype", "id2label", "label2id", "model_type", "num_labels", "problem_type", "torch_dtype",
     "transformers_version", "_name_or_path", "return_dict", "output_attentions", "output_hidden_states",
     "use_return_dict", "finetuning_task", "torchscript", "_num_labels", "_commit_hash"]
)  # fmt: skip


def require(feature: str) -> None:
    """Raise ``MissingExtra`` where transformers is not installed."""
    if find_spec("transformers") is None:
        raise MissingExtra(feature, "hub", "transformers")


def require_folder(family: str, place: Path) -> None:
    """Raise ``Unsupported`` where a family that takes folders is given a file."""
    if place.is_file():
        raise Unsupported("OTHER_CHECKPOINT", f"{family} takes a folder; {place} is a file")


def variant(folder: Path, input_size: Sequence[int], encoding: str = "") -> Variant:
    """The variant of a local checkpoint; its weights may not change until the run is over.

    Raises:
        Refused: the folder holds code or no safetensors.
    """
    folder = folder.resolve()
    read_config(folder)
    options = {"checkpoint": str(folder), "sha256": file_sha256(weights_file(folder))}
    return Variant(title(folder), options, tuple(input_size), encoding)


def picture_size(folder: Path, sizes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The input size that a checkpoint names, else the most natural one.

    Raises:
        Refused: the folder holds code or no configuration.
    """
    side = read_config(folder).get("image_size")
    return sizes[0] if side is None else (side, side) if isinstance(side, int) else tuple(side)


def title(folder: Path) -> str:
    """A short name: that of the folder; in the hub's cache, where folders are named by commits, of the model too."""
    if folder.parent.name == "snapshots":
        return f"{folder.parent.parent.name.rsplit('--', 1)[-1]}-{folder.name[:7]}"
    return folder.name


def chosen(options: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], Mapping[str, Tensor] | None]:
    """``model_type``, settings and weights that a family's options name: of a checkpoint, or of a type, without any.

    Raises:
        Refused: the folder holds code, unknown keys, no safetensors or others than it did.
    """
    if "checkpoint" not in options:
        return options["type"], options["config"], None
    folder = Path(options["checkpoint"])
    config = read_config(folder)
    return config["model_type"], settings_of(config), read_weights(folder, options.get("sha256", ""))


def of_pictures(model: nn.Module) -> nn.Module:
    """Normalised (n, 3, H, W) to what a model of transformers calls logits."""
    from torch import nn

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.model(pixel_values=x).logits
            return logits

    return Logits()


def architecture(
    kind: str,
    known_models: Mapping[Any, Any],
    what: str,
    settings: Mapping[str, Any],
    outputs: int,
    heads: Sequence[str],
    weights: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """An architecture with random weights, or with given ones in all but the head when its classes are others.

    Args:
        kind: the configuration's ``model_type``.
        known_models: one of transformers' mappings from configuration classes to models of a task.
        what: what those models are, for messages.
        settings: keys of the configuration.
        outputs: number of classes.
        heads: how names of tensors begin that may be missing from the weights.
        weights: of a checkpoint; None for random ones.

    Raises:
        Unsupported: transformers has no such model.
        Refused: the weights do not fit the architecture.
    """
    import torch
    from transformers import CONFIG_MAPPING
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = CONFIG_MAPPING[kind](**settings, num_labels=outputs)
        known = known_models[type(config)]
    except KeyError:
        raise Unsupported("UNKNOWN_MODEL", f"transformers has no {what} of type {kind!r}") from None
    chosen = known[0] if isinstance(known, tuple) else known
    # Plain matrix products export to every runtime; fused attention does not.
    config._attn_implementation = "eager"
    if weights is None:
        model: nn.Module = chosen(config)
        return model
    # By tensors and not by folder: the names of older versions are translated, and no file of the folder is followed.
    model, report = chosen.from_pretrained(
        None, config=config, state_dict=dict(weights), dtype=torch.float32,
        ignore_mismatched_sizes=True, output_loading_info=True, attn_implementation="eager",
    )  # fmt: skip
    absent = {*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}
    strange = sorted(name for name in absent if not name.startswith(tuple(heads)))
    if strange:
        raise Refused(f"the checkpoint's {_WEIGHTS} has no fitting tensor {strange[0]!r} for a {kind} model")
    return model


def read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's configuration as plain data.

    Raises:
        Refused: it is not there, too large, not a JSON object, or names code.
    """
    path = folder / _CONFIG
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise Refused(f"{path} is larger than {_LARGEST_CONFIG:,} bytes; that is no model configuration")
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise Refused(f"{folder} holds no config.json; give a folder saved by transformers") from None
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise Refused(f"{path} names no model_type; give a folder saved by transformers")
    if "auto_map" in config:
        raise Refused(f"{path} has auto_map, which names code to run; sartor runs only the code it comes with")
    return config


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that the architecture's configuration class declares, and no others.

    Raises:
        Refused: a key is unknown.
    """
    from transformers import CONFIG_MAPPING

    kind = config["model_type"]
    try:
        declared = CONFIG_MAPPING[kind]().to_dict()
    except KeyError:
        raise Unsupported("UNKNOWN_MODEL", f"transformers has no model of type {kind!r}") from None
    allowed = {key for key in declared if not key.startswith("_")}
    unknown = sorted(set(config) - allowed - _INERT_KEYS)
    if unknown:
        raise Refused(f"the checkpoint's config.json has the key {unknown[0]!r}, which a {kind} model does not have")
    return {key: value for key, value in config.items() if key in allowed - _INERT_KEYS}


def weights_file(folder: Path) -> Path:
    """The file of a checkpoint's weights; raise ``Refused`` where there is none that may be read."""
    path = folder / _WEIGHTS
    if not path.is_file():
        raise Refused(
            f"{folder} holds no {_WEIGHTS}; pickled weights are not opened, save the model with safe_serialization"
        )
    return path


def read_weights(folder: Path, sha256: str) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint.

    Raises:
        Refused: the file is not the one the variant was made from, or is torn.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = weights_file(folder)
    if sha256 and file_sha256(path) != sha256:
        raise Refused(f"{path} has changed since the run began; start a new run")
    try:
        tensors: Mapping[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise Refused(f"{path} is not a whole safetensors file ({error})") from error
    return tensors
