"""Networks trained on for 8 bits: they go on from another's weights while their products are rounded as int8 does it.

It is an option of a network that its training alone heeds: the file that comes out is the same network, with its costs.

Source: Jacob et al. 2018, arXiv:1712.05877 (quantisation-aware training); Krishnamoorthi 2018, arXiv:1806.08342.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sartor.jobs import Recipe
from sartor.types import Network

OPTION = "weight_bits"
"""Key of ``Network.options``: bits that its training rounds weights to; absent where it rounds nothing."""

COMPRESSOR = "int8-static"
"""What makes of such a network the file that was simulated."""

_SUFFIX = "-qat"
_RATE = 0.3  # of the rate of a training from random weights: of 0.1, 0.3 and 1 the one that won back most (docs/log.md)
_ADAM_RATE = 0.025  # of Muon's rate, a filter moves at by AdamW
_ROUNDED = 8
_REDUCED = 7


def bits_of(options: Mapping[str, Any]) -> int:
    """Bits of weights that the compressor's options leave: 7 where they keep sums of 16 bits from saturating."""
    return _REDUCED if options.get("reduce_range") else _ROUNDED


def rounded(network: Network, bits: int) -> Network:
    """The network whose training goes on with products rounded, ``resnet9-m-qat`` of ``resnet9-m``."""
    name = f"{network.variant}{_SUFFIX}".lstrip("-")
    return replace(network, variant=name, options={**network.options, OPTION: bits})


def is_rounded(network: Network) -> bool:
    """Whether a network was trained on for 8 bits."""
    return OPTION in network.options


def unrounded(network: Network) -> Network:
    """The network whatever its training: one that differs in nothing else is the same, and so are its costs."""
    if not is_rounded(network):
        return network
    options = {key: value for key, value in network.options.items() if key != OPTION}
    variant = network.variant.removesuffix(_SUFFIX.lstrip("-")).removesuffix("-")
    return replace(network, variant=variant, options=options)


def gentle(recipe: Recipe, network: Network) -> Recipe:
    """The recipe of a training from random weights, or what it becomes where a network is trained on for 8 bits.

    Its rate is low, as the weights are good already. Muon, which gives every filter the norm that it likes best, is
    left to networks whose batch norms still follow: here they stay as they were.
    """
    if not is_rounded(network):
        return recipe
    muon = recipe.optimizer == "muon"
    rate = recipe.learning_rate * _RATE * (_ADAM_RATE if muon else 1.0)
    return replace(
        recipe,
        optimizer="adamw" if muon else recipe.optimizer,
        learning_rate=rate,
        adapters=0,
        lowest_rate=1.0,
        weight_bits=int(network.options[OPTION]),
    )
