"""How a checkpoint is fine-tuned: all of its weights, or adapters beside its attention (LoRA).

It is an option of a network that its training alone heeds: the file that comes out is the same network, with its costs.
"""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from sartor.errors import MissingExtra
from sartor.jobs import Recipe
from sartor.types import Network

OPTION = "tuning"
"""Key of ``Network.options``; ``lora``, or absent where every weight is learnt."""

LORA = "lora"
RANK = 8
_RATE = 10.0  # times the rate of a full fine-tuning: Schulman et al. 2025, "LoRA without regret", found about that


def require() -> None:
    """Raise ``MissingExtra`` where there is nothing to make adapters with."""
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra("fine-tuning by adapters", "lora", "peft")


def adapted(network: Network) -> Network:
    """The network whose training learns adapters only, ``text-encoder-minilm-lora`` of ``text-encoder-minilm``."""
    return replace(network, variant=f"{network.variant}-{LORA}", options={**network.options, OPTION: LORA})


def untuned(network: Network) -> Network:
    """The network whatever its training: of two that differ in nothing else it is the same, and so are its costs."""
    if OPTION not in network.options:
        return network
    options = {key: value for key, value in network.options.items() if key != OPTION}
    return replace(network, variant=network.variant.removesuffix(f"-{LORA}"), options=options)


def tuned(recipe: Recipe, network: Network) -> Recipe:
    """The recipe of a full fine-tuning, or what it becomes where the network asks for adapters."""
    if network.options.get(OPTION) != LORA:
        return recipe
    return replace(recipe, adapters=RANK, learning_rate=_RATE * recipe.learning_rate, lowest_rate=1.0)
