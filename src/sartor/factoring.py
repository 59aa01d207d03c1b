"""Networks of low rank: another's, with products made of two thinner ones after its training; they have its weights."""

from __future__ import annotations

from dataclasses import replace

from sartor.types import Network

OPTION = "low_rank"
"""Key of ``Network.options``: what is factored and the share of it that is left, as the compressor takes them."""

COMPRESSOR = "low-rank"


def factored(network: Network, share: float, of: str) -> Network:
    """The network with a share of its ``operations`` or ``weights`` left: ``resnet9-m-low-rank-50`` for a half.

    The file of its whole is what it is made from, so it cannot be built or trained.
    """
    name = f"{network.variant}-low-rank-{round(100 * share)}".lstrip("-")
    return replace(network, variant=name, options={**network.options, OPTION: {"share": share, "of": of}})


def is_factored(network: Network) -> bool:
    """Whether a network was made of another by factorisation."""
    return OPTION in network.options


def id_of_whole(network: Network) -> str:
    """The id of the network that it was made of; its own where it was not."""
    return network.id.rpartition("-low-rank-")[0] if is_factored(network) else network.id
