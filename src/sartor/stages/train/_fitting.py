"""Fits a training into the memory that is free: batches in parts, activations computed twice, a network that is cut."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import nn

from sartor.errors import Unsupported
from sartor.progress import Tell
from sartor.stages.train._cutting import Parts, can_be_cut, gathered_bytes, is_asked_for, watched
from sartor.stages.train._gradients import is_out_of_memory
from sartor.stages.train._machine import free_memory, ranks_here
from sartor.stages.train._memory import TRIED, Footprint, foresee
from sartor.stages.train._ranks import Ranks
from sartor.stages.train._recompute import recompute_blocks
from sartor.stages.train._steps import Training

USED_SHARE = 0.85  # of the free memory is planned with: a prediction may be 15 % off
PARTS = "parts.json"  # in the scratch folder: what a rank that ran out of memory leaves to those that start anew


def fit_memory(training: Training, ranks: Ranks, scratch: Path | None, tell: Tell) -> Mapping[str, Any]:
    """Predict what a training takes, choose how much of a batch is computed at once, then share it among the ranks.

    Nothing changes where a whole share of the batch fits. Several ranks cut the network where it, its gradients and
    what it is trained with do not fit whole, or where that is asked for. Activations are computed twice (gradient
    checkpointing) only where two samples at once, with batch norms, or else one would not fit.

    Returns:
        What was predicted and chosen, for the conditions of the result.

    Raises:
        Unsupported: ``OUT_OF_MEMORY`` where even that is surely too much.
    """
    gradients, name = training.gradients, training.job.network.id
    free = ranks.least(_free_per_rank(training, ranks))  # all choose alike, as they exchange in every layer with a norm
    least, recomputed = -(-gradients.share // gradients.most_parts), False
    found, called = _foreseen(training, ranks)
    divisible = ranks.world > 1 and all(can_be_cut(network) for network in _networks(training))
    if is_asked_for() and ranks.world > 1 and not divisible:
        tell(f"{name}: not cut over its processes, as a weight is a single number or weights are of several types")
    apart = divisible and (is_asked_for() or found is not None and _exceeds(found, 0, free))
    used = found.cut(ranks.world, _gathered(training, called)) if apart and found else found
    if _exceeds(used, least, free):
        recomputed = recompute_blocks(training.module) > 0
        if recomputed:
            tell(f"{name}: little memory is free, so activations are computed twice instead of kept")
            found, called = _foreseen(training, ranks)
    if found is None:
        raise gradients.too_large()
    apart = apart or divisible and _exceeds(found, least, free)
    if apart:
        found = found.cut(ranks.world, _gathered(training, called))
        tell(f"{name}: its {ranks.world} processes share the memory that the network takes")
    free += found.held
    if found.peak(least) * USED_SHARE > free:
        raise Unsupported(
            "OUT_OF_MEMORY",
            f"training {name} takes at least {_in_mb(found.peak(least))} MB, and {_in_mb(free)} MB are free",
        )
    gradients.ranks = ranks
    parts = max(gradients.parts, _parts_for(found, gradients.share, int(USED_SHARE * free)), _left_parts(scratch))
    gradients.parts, apart = ranks.told(min(gradients.most_parts, parts), apart)
    if gradients.parts > 1:
        tell(f"{name}: little memory is free, so each batch is computed in {gradients.parts} parts")
    training.spread(ranks, cut_at=called if apart else None)
    return {
        "memory_predicted_mb": _in_mb(found.peak(gradients.micro_batch)),
        "memory_free_mb": _in_mb(free),
        "recomputed": recomputed,
    }


def _foreseen(training: Training, ranks: Ranks) -> tuple[Footprint | None, Parts]:
    """What is predicted from as many samples as fit, None where not even the fewest do; the parts that were called."""
    samples = TRIED
    networks = _networks(training) if ranks.world > 1 else []
    while True:
        try:
            with watched(*networks) as called:
                return foresee(training, samples), called
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        training.gradients.drop()
        if samples <= training.gradients.least_samples:
            return None, set()
        samples //= 2


def _exceeds(found: Footprint | None, samples: int, free: int) -> bool:
    """Whether it takes more than is planned with; for 0 samples, what is there however few are computed at once."""
    return found is None or found.peak(samples) > USED_SHARE * (free + found.held)


def _gathered(training: Training, called: Parts) -> int:
    return sum(gathered_bytes(network, called) for network in _networks(training))


def _networks(training: Training) -> list[nn.Module]:
    """The one that is trained, and its teacher."""
    soft = training.gradients.soft
    return [training.module, *([soft.module] if soft else [])]


def _parts_for(found: Footprint, share: int, budget: int) -> int:
    return -(-share // max(1, found.most_samples(budget))) if found.peak(share) > budget else 1


def _free_per_rank(training: Training, ranks: Ranks) -> int:
    """What is there for this rank; on the CPU all ranks of a machine share it."""
    sharing = ranks_here() if ranks.world > 1 and training.device.type != "cuda" else 1
    return free_memory(training.device) // sharing


def _left_parts(scratch: Path | None) -> int:
    with suppress(OSError, ValueError):
        if scratch is not None:
            return int(json.loads((scratch / PARTS).read_text()))
    return 1


def _in_mb(size: int) -> int:
    return round(size / 1e6)
