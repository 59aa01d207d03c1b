"""Image classifiers of Hugging Face transformers: small configurations trained from scratch, or a local checkpoint.

A checkpoint folder is data from strangers. Its ``config.json`` may only hold keys that the architecture's own
configuration class declares, nothing in it can name code, and weights are read from safetensors only; the library's
own loader, which follows such names, is never called on the folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models import _scaling
from sartor.errors import MissingExtra, Refused, Unsupported
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.storage import file_sha256
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_WEIGHTS = "model.safetensors"
_HEADS = ("classifier", "head", "fc")
_LARGEST_CONFIG = 1_000_000  # bytes
_INERT_KEYS = frozenset(  # notes that transformers writes into every config and that choose nothing we use
    ["architectures", "dtype", "id2label", "label2id", "model_type", "num_labels", "problem_type", "torch_dtype",
     "transformers_version", "_name_or_path", "return_dict", "output_attentions", "output_hidden_states",
     "use_return_dict", "finetuning_task", "torchscript", "_num_labels", "_commit_hash"]
)  # fmt: skip


@register("models", "transformers")
class Transformers:
    """Architectures of transformers by their configuration classes; options name one and its configuration.

    ``options``: ``{"type": …, "config": {…}}``, or ``{"checkpoint": folder, "sha256": …}`` as made by
    :meth:`checkpoint_variant`, which is fine-tuned with a new head. Without ``sha256`` the weights are not compared
    with what they were when the run began.
    """

    name: str
    tasks = frozenset({"image-classification"})
    provenance = Provenance("huggingface/transformers", "Apache-2.0 (a checkpoint has its own)", "arXiv:1910.03771")
    fitting = "gradient"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Small configurations; none with effort ``quick``, as training them from scratch takes long.

        Raises:
            MissingExtra: transformers is not installed.
            Unsupported: at this effort there is none that takes inputs so small.
        """
        _require()
        found = 0
        for position, size in enumerate(sizes):
            for name, row in _presets().items():
                if _offered(row, size, effort):
                    found += 1
                    yield Variant(name + (f"-{size[0]}" if position else ""), _fitted(row, size), size)
        if not found:
            raise Unsupported(
                "EFFORT", f"transformers has no configuration for inputs {list(sizes)} at effort {effort}"
            )

    def checkpoint_variant(self, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
        """The variant that fine-tunes a local checkpoint; its input size comes from the checkpoint where it has one.

        Raises:
            Refused: the folder holds code, unknown keys, or no safetensors.
        """
        _require()
        config = _read_config(folder)
        weights = _weights(folder)
        side = config.get("image_size")
        size = sizes[0] if side is None else (side, side) if isinstance(side, int) else tuple(side)
        options = {"checkpoint": str(folder.resolve()), "sha256": file_sha256(weights)}
        return Variant(folder.resolve().name, options, size)

    def build(self, network: Network) -> nn.Module:
        """Normalised (n, 3, H, W) to logits (n, outputs); with a checkpoint its weights are in, the head is new."""
        _require()
        from torch import nn

        options = network.options
        folder = Path(options["checkpoint"]) if "checkpoint" in options else None
        if folder:
            config = _read_config(folder)
            weights = _read_weights(folder, options.get("sha256", ""))
            model = _classifier(config["model_type"], _settings(config), network.outputs, weights)
        else:
            model = _classifier(options["type"], options["config"], network.outputs)

        class Logits(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, x: Tensor) -> Tensor:
                logits: Tensor = self.model(pixel_values=x).logits
                return logits

        return Logits()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """AdamW with warm-up; gentle for a checkpoint."""
        batch = min(128, _scaling.batch_size(samples, network.input_size))
        rate = 1e-4 if "checkpoint" in network.options else 1e-3
        return Recipe(
            epochs=epochs,
            batch_size=batch,
            optimizer="adamw",
            learning_rate=rate * math.sqrt(batch / 128),
            weight_decay=0.05,
            label_smoothing=0.1,
            warmup_share=0.1,
            ema_decay=_scaling.averaging(samples, batch, epochs),
            augment=("auto",),
        )

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Not for this family: it is trained."""
        raise Unsupported("NOT_CLOSED_FORM", "transformers is trained by gradient")


def _require() -> None:
    if find_spec("transformers") is None:
        raise MissingExtra("the model family transformers", "hub", "transformers")


@cache
def _presets() -> dict[str, dict[str, Any]]:
    presets: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_suffix(".json").read_text())
    return presets


def _offered(row: Mapping[str, Any], size: Sequence[int], effort: str) -> bool:
    wanted = _scaling.EFFORTS.index(effort) >= _scaling.EFFORTS.index(row["effort"])
    fits = min(size) >= row["least_side"] and all(side % row.get("multiple", 1) == 0 for side in size)
    square = len(set(size)) == 1
    return wanted and fits and (square or "patches" not in row)


def _fitted(row: Mapping[str, Any], size: Sequence[int]) -> dict[str, Any]:
    """Options for one input size; a patch transformer gets patches that divide the input, about as many as asked."""
    config = dict(row["config"])
    if "patches" in row:
        divisors = [side for side in range(2, size[0] + 1) if size[0] % side == 0]
        patch = min(divisors, key=lambda side: abs(size[0] / side - row["patches"]))
        config |= {"image_size": size[0], "patch_size": patch}
    return {"type": row["type"], "config": config}


def _classifier(
    kind: str, settings: Mapping[str, Any], outputs: int, weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """The architecture with random weights, or with given ones in all but the head when its classes are others.

    Raises:
        Unsupported: transformers has no such image classifier.
        Refused: the weights do not fit the architecture.
    """
    import torch
    from transformers import CONFIG_MAPPING, MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        config = CONFIG_MAPPING[kind](**settings, num_labels=outputs)
        known = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
    except KeyError:
        raise Unsupported("UNKNOWN_MODEL", f"transformers has no image classifier of type {kind!r}") from None
    architecture = known[0] if isinstance(known, tuple) else known
    # Plain matrix products export to every runtime; fused attention does not.
    config._attn_implementation = "eager"
    if weights is None:
        model: nn.Module = architecture(config)
        return model
    # By tensors and not by folder: the names of older versions are translated, and no file of the folder is followed.
    model, report = architecture.from_pretrained(
        None, config=config, state_dict=dict(weights), dtype=torch.float32,
        ignore_mismatched_sizes=True, output_loading_info=True, attn_implementation="eager",
    )  # fmt: skip
    absent = {*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"])}
    strange = sorted(name for name in absent if not name.startswith(_HEADS))
    if strange:
        raise Refused(f"the checkpoint's {_WEIGHTS} has no fitting tensor {strange[0]!r} for a {kind} model")
    return model


def _read_config(folder: Path) -> dict[str, Any]:
    """A checkpoint's configuration as plain data.

    Raises:
        Refused: it is not there, too large, not a JSON object, or names code.
    """
    path = folder / "config.json"
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


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
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


def _weights(folder: Path) -> Path:
    path = folder / _WEIGHTS
    if not path.is_file():
        raise Refused(
            f"{folder} holds no {_WEIGHTS}; pickled weights are not opened, save the model with safe_serialization"
        )
    return path


def _read_weights(folder: Path, sha256: str) -> Mapping[str, Tensor]:
    """The tensors of a checkpoint.

    Raises:
        Refused: the file is not the one the variant was made from, or is torn.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _weights(folder)
    if sha256 and file_sha256(path) != sha256:
        raise Refused(f"{path} has changed since the run began; start a new run")
    try:
        tensors: Mapping[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise Refused(f"{path} is not a whole safetensors file ({error})") from error
    return tensors
