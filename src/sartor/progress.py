"""How a stage tells what it is doing, whoever listens."""

from __future__ import annotations

from typing import Protocol


class Tell(Protocol):
    """Called by a stage now and then; must be cheap and must not raise."""

    def __call__(self, text: str, share: float | None = None) -> None:
        """``text`` says what is being done; ``share`` is how much of it is done, 0..1, None where unknown."""


def silent(text: str, share: float | None = None) -> None:
    """A listener that ignores everything."""
