"""Which found box is which true box, by the COCO rules, for all pictures at once. Needs numpy only.

Source: the evaluation of Lin et al. 2014, "Microsoft COCO", arXiv:1405.0312: per picture and class, found boxes in
falling order of score each take the free true box they overlap most, at least by the threshold; crowds may be taken
any number of times and then nobody is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sartor.catalog.tasks.parts.detection_truths import CROWD, PLAIN, read_truth

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the overlap, as COCO averages over


@dataclass(frozen=True)
class Matched:
    """Found boxes by class, best first within each, and whether they hit.

    Args:
        image, label, score: (d,) of every found box.
        hit, ignored: (thresholds, d) bool.
        truth_image, truth_label: (g,) of every true box that counts.
        images, labels: how many there are.
    """

    image: Array
    label: Array
    score: Array
    hit: Array
    ignored: Array
    truth_image: Array
    truth_label: Array
    images: int
    labels: int


def match(outputs: Array, truths: Sequence[bytes], labels: Sequence[str]) -> Matched:
    """Match outputs (n, rows, 6) with n truths; rows whose score is 0 are no boxes.

    True boxes of a name that is no label count for nothing: no answer could name them.
    """
    count = len(labels)
    number = {label: place for place, label in enumerate(labels)}
    read = [read_truth(truth) for truth in truths]
    names = np.array([number.get(name, -1) for boxes in read for name in boxes.names], np.int64)
    known = names >= 0
    owner = np.repeat(np.arange(len(read)), [len(boxes) for boxes in read])[known]
    names = names[known]
    places = np.concatenate([boxes.places for boxes in read])[known] if read else np.zeros((0, 4))
    flags = np.concatenate([boxes.flags for boxes in read])[known] if read else np.zeros(0, np.int64)

    image, row = np.nonzero(outputs[..., 4] > 0)
    found = outputs[image, row].astype(np.float64)
    label = found[:, 5].round().astype(np.int64).clip(0, max(count - 1, 0))
    order = np.lexsort((-found[:, 4], label))  # stable: equal scores stay in the order of the pictures
    image, label, found = image[order], label[order], found[order]
    hit, ignored = _taken(image * count + label, found, owner * count + names, places, flags)
    counted = flags == PLAIN
    return Matched(image, label, found[:, 4], hit, ignored, owner[counted], names[counted], len(read), count)


def _taken(found_group: Array, found: Array, true_group: Array, places: Array, flags: Array) -> tuple[Array, Array]:
    """Hits and ignored ones, (thresholds, d) each; a group is one class in one picture."""
    hit = np.zeros((len(THRESHOLDS), len(found)), bool)
    ignored = np.zeros_like(hit)
    if not len(places) or not len(found):
        return hit, ignored
    groups, group = np.unique(true_group, return_inverse=True)
    order = np.lexsort((flags != PLAIN, group))  # those that count first
    group, places, flags = group[order], places[order], flags[order]
    slot = _rank(group)
    most = int(slot.max()) + 1
    boxes = np.zeros((len(groups), most, 4))
    kind = np.full((len(groups), most), -1)
    boxes[group, slot], kind[group, slot] = places, flags

    at = np.searchsorted(groups, found_group).clip(max=len(groups) - 1)
    candidates = np.flatnonzero(groups[at] == found_group)
    shares = _overlaps(found[candidates, :4], boxes[at[candidates]], kind[at[candidates]])
    near = shares.max(axis=1) >= THRESHOLDS[0] - 1e-9  # all others miss at every threshold
    candidates, shares = candidates[near], shares[near]
    at = at[candidates]
    order = np.argsort(at, kind="stable")
    candidates, shares, at = candidates[order], shares[order], at[order]
    turn = _rank(at)
    free = np.ones((len(groups), len(THRESHOLDS), most), bool)
    for step in range(int(turn.max()) + 1 if len(turn) else 0):
        now = np.flatnonzero(turn == step)  # at most one of every group
        home, share = at[now], shares[now][:, None, :]
        may = (share >= np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]) & (free[home] | (kind[home] == CROWD)[:, None, :])
        plain = (kind[home] == PLAIN)[:, None, :]
        first, counts = _best(share, may & plain)
        second, other = _best(share, may & ~plain)
        chosen = np.where(counts, first, second)
        took = counts | other
        hit[:, candidates[now]] = took.T
        ignored[:, candidates[now]] = (took & ~counts).T
        rows, levels = np.nonzero(took)
        free[home[rows], levels, chosen[rows, levels]] = False
    return hit, ignored


def _best(shares: Array, may: Array) -> tuple[Array, Array]:
    """Place of the largest share among those allowed, the last of equals, and whether there is one."""
    allowed = np.where(may, shares, -1.0)[..., ::-1]
    best = allowed.argmax(axis=-1)
    return may.shape[-1] - 1 - best, np.take_along_axis(allowed, best[..., None], axis=-1)[..., 0] >= 0


def _rank(groups: Array) -> Array:
    """Number of each row within its group; rows of a group lie together."""
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]]) if len(groups) else np.zeros(0, np.int64)
    lengths = np.diff(np.r_[starts, len(groups)])
    return np.asarray(np.arange(len(groups)) - np.repeat(starts, lengths))


def _overlaps(found: Array, boxes: Array, kind: Array) -> Array:
    """Intersection over union, (d, slots); over the found box alone where the true one is a crowd; -1: no box."""
    height = np.minimum(found[:, None, 2], boxes[..., 2]) - np.maximum(found[:, None, 0], boxes[..., 0])
    width = np.minimum(found[:, None, 3], boxes[..., 3]) - np.maximum(found[:, None, 1], boxes[..., 1])
    shared = height.clip(0) * width.clip(0)
    own = ((found[:, 2] - found[:, 0]).clip(0) * (found[:, 3] - found[:, 1]).clip(0))[:, None]
    true = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    union = np.where(kind == CROWD, own, own + true - shared)
    shares = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.asarray(np.where(kind >= 0, shares, -1.0))
