"""When data is refused: one sentence that says what is wrong, where, and what would be right. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor.errors import DataError, nearest
from sartor.stages.data.splits import LEAST_LABELS

MAX_BROKEN_SHARE = 0.3
MANY_NUMBERS = 20  # classes that are numbers: more of them are hardly names


def refuse_broken(title: str, usable: int, broken: Sequence[str], share: float) -> None:
    """Refuse a part without usable samples, or with too many broken ones.

    Args:
        title: the part, for the sentence.
        usable: samples left.
        broken: place and reason of each broken sample.
        share: the most that may be broken, 0..1.
    """
    total = usable + len(broken)
    if total == 0:
        raise DataError(f"{title}: there are no samples in it; check the path, or add some")
    if usable == 0:
        raise DataError(f"{title}: none of its {total} samples can be used; the first: {broken[0]}")
    if len(broken) > share * total:
        raise DataError(
            f"{title}: {len(broken)} of {total} samples are broken ({len(broken) / total:.0%}), more than the "
            f"{share:.0%} allowed by data.max_broken_share; the first: {broken[0]}"
        )


def refuse_unknown_labels(split: str, labels: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a split with labels that train lacks: no model could ever answer them."""
    unknown = [label for label in labels if label not in known]
    if unknown:
        near = nearest(unknown[0], known)
        shown = ", ".join(repr(label) for label in unknown[:5])
        hint = f"Did you mean {near!r}?" if near else f"Train has {', '.join(list(known)[:8])}."
        raise DataError(f"data.{split}: train has no samples of {shown}; add some to train or remove them. {hint}")


def refuse_labels_unknown_to_model(labels: Sequence[str], known: Sequence[str]) -> None:
    """Refuse data to judge by that asks for answers the model cannot give."""
    unknown = [label for label in labels if label not in known]
    if unknown:
        near = nearest(unknown[0], known)
        shown = ", ".join(repr(label) for label in unknown[:5])
        hint = f"Did you mean {near!r}?" if near else f"It has {', '.join(list(known)[:8])}."
        raise DataError(f"data.test: the model has no label {shown}; give data with the model's labels. {hint}")


def refuse_small_classes(contents: Mapping[str, int], least: int) -> None:
    """Refuse labels with fewer different samples than the user asked for."""
    small = {label: count for label, count in contents.items() if count < least}
    if small:
        label, count = min(small.items(), key=lambda item: item[1])
        also = f" (and {len(small) - 1} more labels)" if len(small) > 1 else ""
        raise DataError(f"data.train: label {label!r}{also} has {count} different samples; at least {least} are needed")


def refuse_too_few_samples(count: int, cuts: Sequence[str]) -> None:
    """Refuse fewer different samples than one per split and two to learn from."""
    needed = 2 + len(cuts)
    if count < needed:
        why = f", because {' and '.join(cuts)} must be cut from train" if cuts else ""
        raise DataError(f"data.train: there are only {count} different samples; at least {needed} are needed{why}")


def refuse_too_few_labels(count: int, cuts: Sequence[str]) -> None:
    """Refuse fewer labels than are needed to set whole ones aside."""
    needed = LEAST_LABELS * (1 + len(cuts))
    if count < needed:
        why = f", because {' and '.join(cuts)} must be cut from train by whole labels" if cuts else ""
        raise DataError(f"data.train: there are only {count} different labels; at least {needed} are needed{why}")


def refuse_one_answer(smallest: float, largest: float) -> None:
    """Refuse numbers that are all the same: there is nothing to learn."""
    if smallest == largest:
        raise DataError(f"data.train: all answers are {smallest:g}; there is nothing to predict, check data.label")


def refuse_too_few(contents: Mapping[str, int], cuts: Sequence[str], least: int) -> None:
    """Refuse one sample, one class, and classes too small to be split and learnt.

    Args:
        contents: label to number of different samples in train.
        cuts: splits that must still be cut from train.
        least: fewest different samples a class may have, as asked by the user; 0 for what splitting needs.
    """
    total = sum(contents.values())
    if total <= 1:
        raise DataError("data.train: there is only 1 sample to learn from; a model needs several of every class")
    if len(contents) < 2:
        only = next(iter(contents))
        raise DataError(
            f"data.train: all {total} samples have the same label, {only!r}; classification needs two classes or more"
        )
    needed = max(least, 1 + len(cuts))
    small = {label: count for label, count in contents.items() if count < needed}
    if small:
        label, count = min(small.items(), key=lambda item: item[1])
        also = f" (and {len(small) - 1} more classes)" if len(small) > 1 else ""
        if len(small) > max(len(contents) / 2, MANY_NUMBERS) and all(map(_is_number, contents)):
            raise DataError(
                f"data.train: class {label!r}{also} has too few samples, and all classes are numbers; "
                "a task that answers with a number may be meant, e.g. tabular-regression"
            )
        why = f", because {' and '.join(cuts)} must be cut from train" if cuts else ""
        raise DataError(
            f"data.train: class {label!r}{also} has {count} different sample{'s' if count != 1 else ''}; "
            f"at least {needed} are needed{why}"
        )


def _is_number(label: str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True
