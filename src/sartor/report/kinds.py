"""The few kinds of fate that a picture can tell apart, and which reason code is of which kind."""

from __future__ import annotations

from collections.abc import Mapping

KINDS: Mapping[str, str] = {
    "chosen": "chosen",
    "meets": "would do, another does better",
    "open": "not clear yet",
    "misses": "misses a limit",
    "unpaid": "compression did not pay",
    "stopped": "not pursued",
    "refused": "could not be used",
    "reference": "reference only",
}
"""Kind to the words of its legend."""

_KIND_OF: Mapping[str, str] = {
    "CHOSEN": "chosen",
    "WORSE_OBJECTIVE": "meets",
    "NOT_FINALIST": "meets",
    "INCONCLUSIVE": "open",
    "BELOW_FLOOR": "misses",
    "TOO_SLOW": "misses",
    "TOO_SLOW_TO_START": "misses",
    "TOO_LARGE": "misses",
    "TOO_MUCH_MEMORY": "misses",
    "TOO_MUCH_ENERGY": "misses",
    "OTHER_ELSEWHERE": "misses",
    "ACCURACY_DROP": "unpaid",
    "SLOWER_THAN_PARENT": "unpaid",
    "NOT_SMALLER": "unpaid",
    "HALVED": "stopped",
    "FLOOR_UNREACHABLE": "stopped",
    "NOT_TRIED": "stopped",
    "NOT_DEPLOYED": "stopped",
    "PRUNED_OTHERWISE": "stopped",
    "FACTORED_OTHERWISE": "stopped",
    "NO_PRODUCTS": "stopped",
    "DIVERGED": "stopped",
    "EFFORT": "stopped",
    "TOO_LONG_TO_TRAIN": "stopped",
    "REFERENCE": "reference",
}


def kind_of(code: str) -> str:
    """The kind of a reason code; codes of plug-ins and workers are refusals."""
    return _KIND_OF.get(code, "refused")


def table() -> dict[str, str]:
    """Reason code to kind, for the page."""
    return dict(_KIND_OF)
