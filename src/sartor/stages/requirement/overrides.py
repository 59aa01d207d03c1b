"""``key=value`` overrides: dotted keys into a requirement, values written as in YAML."""

from __future__ import annotations

from collections.abc import Sequence

from sartor.stages.requirement.document import Document, read_value
from sartor.stages.requirement.problems import KeyPath, shown


def apply(document: Document, overrides: Sequence[str]) -> None:
    """Set each override in the document; ``key=null`` takes a key out. Problems are noted in the document.

    Example: ``apply(document, ["limits.latency_p95_ms.max=3", "search.models=[resnet9]"])``.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        path = tuple(key.strip().split("."))
        if not equals or not all(path):
            place: KeyPath = (f"\0{override}",)
            document.problems.overridden.add(place)
            document.problems.add(
                place, f"{shown(override)} is not key=value. Try something like limits.latency_p95_ms.max=3"
            )
            continue
        try:
            value = read_value(text)
        except ValueError as error:
            document.problems.overridden.add(path)
            document.problems.add(path, f"{key}: {error}")
            continue
        document.set(path, value)
