"""Encoders of checkpoints: ids of their own vocabulary to one vector per text. Torch inside functions only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import checkpoints
from sartor.catalog.models.parts.text_layers import mean_of
from sartor.errors import Refused
from sartor.types import Network

if TYPE_CHECKING:
    from torch import Tensor, nn

PIECES_PER_WORD = 1.4  # about, of ordinary text
FRAME = 2  # special tokens around a text
STEP = 8  # lengths are multiples of it
LONGEST = 256
_PLACES_BEHIND_PADDING = frozenset(  # they number places from the id of padding on
    ["camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
     "xlm-roberta-xl"]
)  # fmt: skip
_INERT_KEYS = frozenset(  # of configurations written by older versions; of what they chose, nothing is used here
    ["gradient_checkpointing", "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_type",
     "pooler_num_fc_layers", "pooler_size_per_head", "output_past", "tie_weights_", "use_cache", "language",
     "summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj", "sinusoidal_pos_embds"]
)  # fmt: skip


def variant(feature: str, folder: Path, sizes: Sequence[tuple[int, ...]]) -> Variant:
    """The variant of a local checkpoint, as long as the texts are and its positions reach.

    Raises:
        MissingExtra: transformers is not installed.
        Refused: the folder holds code, unknown keys, no tokenizer, or no safetensors.
    """
    checkpoints.require(feature)
    folder = folder.resolve()
    config = checkpoints.read_config(folder)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        raise Refused(f"{folder} holds no tokenizer.json; save the checkpoint's tokenizer beside its weights")
    reach = int(config.get("max_position_embeddings", LONGEST))
    reach -= padding(config) + 1 if config["model_type"] in _PLACES_BEHIND_PADDING else 0
    wanted = -(-int(sizes[0][0] * PIECES_PER_WORD + FRAME) // STEP) * STEP
    return checkpoints.variant(folder, (min(wanted, reach, LONGEST),), f"checkpoint:{folder}")


def padding(config: Mapping[str, Any]) -> int:
    """The id that fills short texts; of an encoder that never saw any, its end of text. As the tokenizer has it."""
    given = (config.get(name) for name in ("pad_token_id", "eos_token_id"))
    return next((number for number in given if isinstance(number, int)), 0)


def classifier(network: Network, dropout: float = 0.0) -> nn.Module:
    """Ids (n, length) to logits (n, outputs): the encoder ("0") with its weights in, and a new linear head ("1")."""
    from torch import nn

    body, width = encoder(network.options)
    head = nn.Linear(width, network.outputs)
    return nn.Sequential(body, nn.Sequential(nn.Dropout(dropout), head) if dropout else head)


def encoder(options: Mapping[str, str]) -> tuple[nn.Module, int]:
    """A module from ids (n, length) to the mean (n, width) of the words' last states, and that width."""
    from torch import nn
    from transformers import MODEL_MAPPING

    folder = Path(options["checkpoint"])
    config = {key: value for key, value in checkpoints.read_config(folder).items() if key not in _INERT_KEYS}
    if config.get("position_embedding_type") == "absolute":  # the only way left, so it is no longer said
        del config["position_embedding_type"]
    weights = checkpoints.read_weights(folder, options.get("sha256", ""))
    kind, settings = config["model_type"], checkpoints.settings_of(config)
    model = checkpoints.architecture(kind, MODEL_MAPPING, "text encoder", settings, 1, ("pooler",), weights)
    filling = padding(config)
    if hasattr(model, "pooler"):
        setattr(model, "pooler", None)  # noqa: B010  unused; a plain attribute would not satisfy nn.Module's types

    class Mean(nn.Module):
        padding = filling

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Tensor) -> Tensor:
            held = ids != filling
            states = self.model(input_ids=ids.long(), attention_mask=held.long()).last_hidden_state
            return mean_of(states, held.to(states.dtype))

    return Mean(), int(settings.get("hidden_size") or settings["dim"])
