"""Quality of face embeddings: verification over pairs of pictures, identification by the nearest one. numpy only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sartor.catalog.contracts import Scores
from sartor.catalog.tasks.parts.faces_pairs import Pairs, face_pairs, nearest_others
from sartor.intervals import proportion
from sartor.metrics import Metric
from sartor.types import Chart, Line, Table

Array = np.ndarray[Any, np.dtype[Any]]
Interval = tuple[float, float, float]

METRICS = (
    Metric("tar_at_far_0_01", "", "higher", "quality", "true accepts at 1 % false accepts", bounded=True),
    Metric("tar_at_far_0_001", "", "higher", "quality", "true accepts at 0.1 % false accepts", bounded=True),
    Metric("auc", "", "higher", "quality", "AUC of verification", bounded=True),
    Metric("eer", "", "lower", "quality", "equal error rate", bounded=True),
    Metric("rank_1", "", "higher", "quality", "rank-1 identification", bounded=True),
)
"""Of people never seen in training; the first is the primary one."""

RATES: Mapping[str, float] = {"tar_at_far_0_01": 0.01, "tar_at_far_0_001": 0.001}
THRESHOLDS = "Thresholds"
"""Title of the table that says from which similarity on two pictures count as one person."""

RESAMPLES = 200
WORST_PAIRS = 12
POINTS = 60  # of a line in a chart


def face_scores(outputs: Array, truths: Array, labels: Sequence[str], confidence: float) -> Scores:
    """Judge embeddings (n, d) against people (n,).

    Verification compares every two pictures; identification finds for each picture the most similar other one.
    Intervals are of a bootstrap over people, since pairs of one person are not independent (Bolle et al. 2004, "Error
    analysis of pattern recognition systems: the subsets bootstrap"), and at least as wide as the exact interval of a
    share among as many pictures. With fewer than 1/f pairs of strangers a rate of f is not shown: the low end is 0.

    Raises:
        DataError: nobody has two pictures, or all show one person.
    """
    people = np.asarray(truths)
    pairs = face_pairs(outputs, people)
    numbers, index = np.unique(people, return_inverse=True)
    pictures = np.bincount(index)
    several = pictures[index] > 1
    nearest = nearest_others(outputs)
    hits = (nearest >= 0) & (people[nearest] == people)
    draws = _draws(len(numbers))

    def measures(weights: Array) -> Array:
        true, false = pairs.rates(weights)
        return np.array([*(accepted_at(true, false, rate) for rate in RATES.values()), *_areas(true, false)])

    ones = np.ones(len(pairs.same))
    values = measures(ones)
    person = index[pairs.left], index[pairs.right]
    drawn = np.array([measures(_pair_weights(pairs, person, draw)) for draw in draws])
    found = {
        name: _interval(float(value), drawn[:, column], int(several.sum()), confidence)
        for column, (name, value) in enumerate(zip([*RATES, "auc", "eer"], values, strict=True))
    }
    strangers = int((~pairs.same).sum())
    for name, rate in RATES.items():
        if strangers * rate < 1:
            found[name] = (found[name][0], 0.0, found[name][2])
    right = np.bincount(index[several & hits], minlength=len(numbers))
    counted = np.where(pictures > 1, pictures, 0)
    shares = [float(draw @ right) / float(draw @ counted) for draw in draws if (draw @ counted) > 0]
    found["rank_1"] = _interval(float(right.sum() / counted.sum()), np.array(shares), int(counted.sum()), confidence)

    threshold = threshold_at(pairs, RATES["tar_at_far_0_01"])
    accepted = _accepted_per_picture(pairs, threshold, len(people), float(values[0]))
    kept = counted > 0
    per_person = np.bincount(index[several], accepted[several], len(numbers))[kept] / counted[kept]
    found["tar_at_far_0_01_per_class_min"] = _worst_person(per_person, counted[kept], confidence)
    names = [labels[int(number)] for number in numbers]
    return Scores(
        values=found,
        correct=accepted,
        per_class={name: float(share) for name, share in zip(np.array(names)[kept].tolist(), per_person, strict=True)},
        worst=_worst(pairs, threshold),
        resample=_resample(pairs, len(people), float(values[0])),
        charts=(_roc(pairs, ones), _similarities(pairs)),
        tables=(_thresholds(pairs, ones), _worst_pairs(pairs, people, labels, threshold)),
    )


def accepted_at(true: Array, false: Array, rate: float) -> float:
    """The true accept rate at the laxest threshold whose false accept rate is at most ``rate``."""
    if np.isnan(false[-1]):
        return float("nan")
    position = int(np.searchsorted(false, rate * (1 + 1e-9), side="right")) - 1
    return float(true[position]) if position >= 0 else 0.0


def threshold_at(pairs: Pairs, rate: float) -> float:
    """The lowest similarity at which the false accept rate is at most ``rate``; beyond 1 where none is."""
    _, false = pairs.rates(np.ones(len(pairs.same)))
    position = int(np.searchsorted(false, rate * (1 + 1e-9), side="right")) - 1
    return float(pairs.similarity[pairs.ends[position]]) if position >= 0 else float(pairs.similarity[0]) + 1e-6


def fold_accuracy(similarity: Array, same: Array, folds: Array) -> tuple[float, float]:
    """Mean and deviation over folds of the share of pairs told rightly, by the best threshold of the other folds.

    Source: Huang et al. 2007, "Labeled Faces in the Wild", the protocol of View 2.
    """
    shares = []
    for fold in np.unique(folds):
        rest, mine = folds != fold, folds == fold
        order = np.argsort(-similarity[rest], kind="stable")
        marks = np.where(same[rest][order], 1, -1)
        best = int(np.argmax(np.cumsum(marks)))
        threshold = similarity[rest][order][best]
        shares.append(float(((similarity[mine] >= threshold) == same[mine]).mean()))
    return float(np.mean(shares)), float(np.std(shares))


def _areas(true: Array, false: Array) -> tuple[float, float]:
    """Area under the curve of true over false accepts, and the rate at which false rejects equal false accepts."""
    t, f = np.concatenate([[0.0], true]), np.concatenate([[0.0], false])
    if np.isnan(t[-1]):
        return float("nan"), float("nan")
    area = float((np.diff(f) * (t[1:] + t[:-1]) / 2).sum())
    gap = f - (1 - t)  # rises from -1 to 1
    after = int(np.argmax(gap >= 0))
    before = after - 1
    step = gap[after] - gap[before]
    share = -gap[before] / step if step > 0 else 0.0
    return area, float(f[before] + share * (f[after] - f[before]))


def _draws(people: int) -> list[Array]:
    """How often each person is drawn, for every seeded draw of as many people."""
    generator = np.random.default_rng(0)
    return [np.bincount(generator.integers(0, people, people), minlength=people) for _ in range(RESAMPLES)]


def _pair_weights(pairs: Pairs, person: tuple[Array, Array], draw: Array) -> Array:
    """A person drawn twice is two people who look alike: never a pair of strangers with himself."""
    return np.where(pairs.same, draw[person[0]], draw[person[0]] * draw[person[1]]).astype(np.float64)


def _interval(value: float, drawn: Array, n: int, confidence: float) -> Interval:
    """Percentiles of what was drawn, no narrower than the exact interval of such a share among n pictures."""
    low, high = (
        proportion(int(np.floor(value * n)), n, confidence)[0],
        proportion(int(np.ceil(value * n)), n, confidence)[1],
    )
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn):
        tail = (1 - confidence) / 2
        low, high = min(low, float(np.quantile(drawn, tail))), max(high, float(np.quantile(drawn, 1 - tail)))
    return value, max(0.0, min(value, low)), min(1.0, max(value, high))


def _accepted_per_picture(pairs: Pairs, threshold: float, n: int, neutral: float) -> Array:
    """For each picture the share of those of the same person that it is accepted with; ``neutral`` where none is."""
    left, right, good = pairs.left[pairs.same], pairs.right[pairs.same], pairs.similarity[pairs.same] >= threshold
    both = np.concatenate([left, right])
    total = np.bincount(both, minlength=n)
    accepted = np.bincount(both, np.concatenate([good, good]).astype(np.float64), n)
    return np.where(total > 0, accepted / np.maximum(total, 1), neutral)


def _worst_person(shares: Array, pictures: Array, confidence: float) -> Interval:
    """The least share of accepted pairs of a person, with intervals that hold for all people together (Bonferroni)."""
    each = 1 - (1 - confidence) / len(shares)
    lows, highs = zip(
        *(
            (proportion(int(np.floor(share * n)), n, each)[0], proportion(int(np.ceil(share * n)), n, each)[1])
            for share, n in zip(shares.tolist(), pictures.tolist(), strict=True)
        ),
        strict=True,
    )
    return float(shares.min()), min(lows), min(highs)


def _resample(pairs: Pairs, n: int, value: float) -> Callable[[Array], float]:
    def accepted(chosen: Array) -> float:
        counts = np.bincount(np.asarray(chosen), minlength=n).astype(np.float64)
        true, false = pairs.rates(counts[pairs.left] * counts[pairs.right])
        found = accepted_at(true, false, RATES["tar_at_far_0_01"])
        return value if np.isnan(found) else found

    return accepted


def _wrong_pairs(pairs: Pairs, threshold: float) -> tuple[Array, Array]:
    """Positions of the most similar strangers above the threshold and of the least similar pictures of one person."""
    alike = np.flatnonzero(~pairs.same & (pairs.similarity >= threshold))
    unlike = np.flatnonzero(pairs.same & (pairs.similarity < threshold))[::-1]
    return alike[:WORST_PAIRS], unlike[:WORST_PAIRS]


def _worst(pairs: Pairs, threshold: float) -> tuple[int, ...]:
    """Both pictures of each pair beside each other, strangers that look alike and the others in turn."""
    alike, unlike = _wrong_pairs(pairs, threshold)
    turns: list[int] = []
    for position in range(WORST_PAIRS):
        for found in (alike, unlike):
            if position < len(found):
                turns += [int(pairs.left[found[position]]), int(pairs.right[found[position]])]
    return tuple(dict.fromkeys(turns))


def _worst_pairs(pairs: Pairs, people: Array, labels: Sequence[str], threshold: float) -> Table:
    rows = []
    for kind, found in zip(
        ("strangers taken for one", "one not recognised"), _wrong_pairs(pairs, threshold), strict=True
    ):
        for position in found:
            left, right = int(pairs.left[position]), int(pairs.right[position])
            rows.append(
                (
                    kind,
                    f"{labels[int(people[left])]} (picture {left})",
                    f"{labels[int(people[right])]} (picture {right})",
                    f"{pairs.similarity[position]:.3f}",
                )
            )
    note = f"At the similarity {threshold:.3f}, which 1 % of the pairs of strangers reach; numbers are of the split."
    return Table("Pairs told wrongly", ("what", "picture", "picture", "similarity"), tuple(rows), note)


def _thresholds(pairs: Pairs, ones: Array) -> Table:
    true, false = pairs.rates(ones)
    strangers = int((~pairs.same).sum())
    rows = tuple(
        (f"{rate:g}", f"{threshold_at(pairs, rate):.4f}", f"{accepted_at(true, false, rate):.3f}")
        for rate in (0.1, 0.01, 0.001, 0.0001)
        if strangers * rate >= 1
    )
    note = f"From so much similarity on two pictures count as one person; from {strangers:,} pairs of strangers."
    return Table(THRESHOLDS, ("false accept rate", "similarity", "true accept rate"), rows, note)


def _roc(pairs: Pairs, ones: Array) -> Chart:
    true, false = pairs.rates(ones)
    shown = false > 0
    lowest = np.log10(false[shown][0]) if shown.any() else -1.0
    grid = np.linspace(lowest, 0.0, POINTS)
    heights = [accepted_at(true, false, float(10**exponent)) for exponent in grid]
    line = Line("pairs of pictures", tuple(float(x) for x in grid), tuple(heights))
    note = "-2 is one stranger accepted in a hundred, -3 one in a thousand; higher is better."
    return Chart("Verification", "false accept rate, log10", "true accept rate", (line,), note)


def _similarities(pairs: Pairs) -> Chart:
    edges = np.linspace(max(-1.0, float(pairs.similarity[-1])), 1.0, POINTS // 2 + 1)
    middles = tuple(float(x) for x in (edges[1:] + edges[:-1]) / 2)
    lines = []
    for name, mine in (("one person", pairs.same), ("strangers", ~pairs.same)):
        counts, _ = np.histogram(pairs.similarity[mine], edges)
        lines.append(Line(name, middles, tuple(float(x) for x in counts / max(int(mine.sum()), 1))))
    return Chart("Similarities", "similarity", "share of pairs", tuple(lines), "The less they overlap, the better.")
