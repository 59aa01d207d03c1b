"""How training time is shared out: epochs on a ladder, brackets of successive halving."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from sartor import registry
from sartor.types import Network

LADDER = (
    0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112,
    128, 160, 200,
)  # fmt: skip
"""Epochs are rounded down to these, so that runs with slightly different budgets share their trainings."""


@dataclass(frozen=True)
class Effort:
    """How widely a search looks.

    Args:
        probe_share: share of the budget that measuring untrained networks may take.
        probe_seconds: timed window per probe.
        throughput_seconds: how long the training rate of a network is tried.
        bracket: networks that get a first short training.
        survivors: networks that get a long one.
        deployments: runtime and precision pairs evaluated per trained network.
    """

    probe_share: float
    probe_seconds: float
    throughput_seconds: float
    bracket: int
    survivors: int
    deployments: int


EFFORTS = {
    "quick": Effort(0.30, 0.5, 1.0, 4, 1, 3),
    "balanced": Effort(0.12, 0.8, 2.0, 6, 1, 4),
    "thorough": Effort(0.15, 1.5, 3.0, 12, 2, 6),
}


def on_ladder(epochs: float) -> float:
    """The largest step not above ``epochs``; the lowest step for anything below it."""
    place = bisect_right(LADDER, epochs)
    return LADDER[max(0, place - 1)]


def enough_epochs(samples: int) -> float:
    """Epochs beyond which small networks gain little: about two million samples seen, within 30 … 200 epochs."""
    return on_ladder(min(200.0, max(30.0, 2_000_000 / max(1, samples))))


def is_computed(network: Network) -> bool:
    """True for what is fitted in one pass, baselines among it."""
    return bool(registry.get("models", network.model).fitting == "closed-form")


def largest_first(networks: Iterable[tuple[Network, float]]) -> list[Network]:
    """Networks by size, largest first, families taking turns."""
    families: dict[str, list[tuple[float, Network]]] = defaultdict(list)
    for network, size in networks:
        families[network.model].append((size, network))
    queues = [
        [network for _, network in sorted(members, key=lambda pair: (-pair[0], pair[1].id))]
        for members in families.values()
    ]
    return [network for turn in zip_longest(*queues) for network in turn if network is not None]
