"""How the boosters of an ensemble are grown by LightGBM: how many rounds, on numbers or their logarithms, their shares.

Boosters that are averaged have to differ. All draw other rows and columns; of skewed numbers every second one is fitted
to a logarithm, where a large truth counts for no more than a small one, so that the two err at different places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.catalog.models.parts.trees import Share, Trees, answers_of

Array = np.ndarray[Any, np.dtype[Any]]

PATIENCE = 0.1  # of the rounds without a gain on rows held out, and growing ends
FEW_ROWS = 5000  # up to here the number of rounds comes from five folds instead of one hold-out
SKEWED = 0.5  # skewness from which a logarithm is tried


@dataclass(frozen=True)
class Logarithm:
    """ln(sign · truth − origin): the logarithm of what is left of a truth beyond an origin."""

    sign: float
    origin: float

    def of(self, truths: Array) -> Array:
        """Truths (n,) to logarithms (n,)."""
        logarithms: Array = np.log(self.sign * truths.astype(np.float64) - self.origin)
        return logarithms


@dataclass(frozen=True)
class Grown:
    """Boosters as :func:`take_lightgbm` takes them; ``factor`` and ``constant`` of :class:`Trees`."""

    shares: tuple[Share, ...]
    factor: float = 0.0
    constant: float = 0.0


def skewness(truths: Array) -> float:
    """Third standardised moment; 0 where all are equal."""
    away = truths - truths.mean()
    spread = float(np.mean(away**2))
    return float(np.mean(away**3)) / spread**1.5 if spread > 0 else 0.0


def symmetric_logarithm(truths: Array) -> Logarithm | None:
    """The logarithm in which truths have no skewness, by the choice of the origin; None where they have little as is.

    Truths with a long tail to the left are turned round. The origin is kept a little below the least truth. Source:
    the zero-skewness log transform, Box and Cox 1964, section 5, and Stata's ``lnskew0``.
    """
    skewed = skewness(truths)
    if abs(skewed) < SKEWED:
        return None
    sign = 1.0 if skewed > 0 else -1.0
    beyond = sign * truths - (sign * truths).min()
    low, high = np.log(truths.std()) + np.log(1e-3), np.log(truths.std()) + np.log(1e3)
    for _ in range(40):  # the skewness of logarithms grows with the distance of the origin
        middle = (low + high) / 2
        low, high = (low, middle) if skewness(np.log(beyond + np.exp(middle))) > 0 else (middle, high)
    return Logarithm(sign, float((sign * truths).min() - np.exp(low)))


@dataclass(frozen=True)
class HeldOut:
    """Rounds that pay, and what a booster with so many answers for rows (by number) that it has not seen."""

    rounds: int
    places: Array
    answers: Array


def grow(rows: Array, truths: Array, module: Trees, boosters: int, threads: int, seed: int) -> Grown:
    """As many boosters as asked for, each with the rounds that pay on rows held out, then grown on all rows.

    Args:
        rows: (n, inputs), NaN for missing.
        truths: (n,) classes, or numbers of about unit deviation.
        module: with room for ``boosters`` of equal size.
        boosters: 1, or an even number.
        threads: that LightGBM may take; the trees are the same with any.
        seed: of the first booster.
    """
    settings = settings_of(len(truths), module, threads, seed)
    numbers = module.outputs == 1
    room = len(module.root) // answers_of(module.outputs) // boosters
    plain = _held_out(rows, truths, settings, room)
    logarithm = symmetric_logarithm(truths.astype(np.float64)) if numbers and boosters > 1 else None
    if logarithm is None:
        made = _boosters(rows, truths, settings, plain.rounds, boosters)
        return Grown(tuple(Share(model, 1 / boosters) for model in made))

    logarithms, half = logarithm.of(truths), boosters // 2
    second = _held_out(rows, logarithms, settings, room)
    factor = smearing(logarithms[second.places], second.answers)
    beyond = factor * np.exp(second.answers)
    share = share_of_second(truths[second.places], plain.answers, logarithm.sign * (beyond + logarithm.origin))
    shares = [Share(model, (1 - share) / half) for model in _boosters(rows, truths, settings, plain.rounds, half)]
    other = {**settings, "seed": seed + half}
    shares += [Share(model, 1 / half, 1) for model in _boosters(rows, logarithms, other, second.rounds, half)]
    return Grown(tuple(shares), share * logarithm.sign * factor, share * logarithm.sign * logarithm.origin)


def smearing(logarithms: Array, answers: Array) -> float:
    """What exponentials of answers are to be multiplied with, as the mean of exp is not exp of the mean.

    Over rows held out; large answers count as much more as they are larger. Source: Duan 1983, "Smearing estimate: a
    nonparametric retransformation method", Journal of the American Statistical Association 78.
    """
    return float(np.exp(logarithms).mean() / np.exp(answers).mean())


def share_of_second(truths: Array, first: Array, second: Array) -> float:
    """Share of the second answers in a mean of both: half way from equal shares to the least squared error."""
    apart = second - first
    best = float(apart @ (truths - first)) / max(float(apart @ apart), 1e-30)
    return (min(1.0, max(0.0, best)) + 0.5) / 2


def settings_of(rows: int, module: Trees, threads: int, seed: int) -> dict[str, Any]:
    """LightGBM's parameters for trees that fit into a module."""
    objective = "regression" if module.outputs == 1 else "binary" if module.outputs == 2 else "multiclass"
    classes = {"num_class": module.outputs} if module.outputs > 2 else {}
    return {
        "objective": objective,
        **classes,
        "num_leaves": (module.left.shape[1] + 1) // 2,
        "max_depth": module.depth,
        "learning_rate": module.learning_rate,
        "min_data_in_leaf": max(3, min(20, rows // 50)),
        "feature_fraction": 0.8 if module.inputs > 4 else 1.0,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "num_threads": threads,
        "seed": seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }


def _boosters(rows: Array, truths: Array, settings: dict[str, Any], rounds: int, count: int) -> Iterator[Any]:
    """Grown on all rows with one seed after another, as LightGBM dumps them."""
    import lightgbm

    data = lightgbm.Dataset(rows, truths, params=settings, free_raw_data=False)
    for number in range(count):
        yield lightgbm.train({**settings, "seed": settings["seed"] + number}, data, rounds).dump_model()


def _held_out(rows: Array, truths: Array, settings: dict[str, Any], room: int) -> HeldOut:
    """With as many rounds as pay on rows held out, at most those there is room for."""
    import lightgbm

    classes = settings["objective"] != "regression"
    data = lightgbm.Dataset(rows, truths, params=settings, free_raw_data=False)
    stop = lightgbm.early_stopping(max(20, round(PATIENCE * room)), verbose=False)
    if len(truths) <= FEW_ROWS:
        folds = folds_of(truths, classes, settings["seed"])
        found: dict[str, Any] = lightgbm.cv(settings, data, room, folds=folds, callbacks=[stop], return_cvbooster=True)
        grown = found.pop("cvbooster").boosters
        rounds = len(next(iter(found.values())))
    else:
        folds = folds_of(truths, False, settings["seed"])[:1]
        inner, outer = (data.subset(side.tolist(), params=settings) for side in folds[0])
        grown = [lightgbm.train(settings, inner, room, valid_sets=[outer], callbacks=[stop])]
        rounds = max(1, grown[0].best_iteration or room)
    pairs = zip(grown, folds, strict=True)
    answers = [booster.predict(rows[held], num_iteration=rounds) for booster, (_, held) in pairs]
    return HeldOut(rounds, np.concatenate([held for _, held in folds]), np.concatenate(answers))


def folds_of(truths: Array, stratified: bool, seed: int) -> list[tuple[Array, Array]]:
    """Five ways to hold a fifth out, as (kept, held out) row numbers; every class spread over all folds."""
    order = np.random.default_rng(seed).permutation(len(truths))
    if stratified:
        order = order[np.argsort(truths[order], kind="stable")]
    fold = np.empty(len(truths), np.int64)
    fold[order] = np.arange(len(truths)) % 5
    return [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(5)]
