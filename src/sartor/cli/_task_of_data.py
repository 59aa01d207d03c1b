"""Which task a data source is for, where that can be seen."""

from __future__ import annotations

from pathlib import Path


def task_of(what: str) -> str:
    """The task of pictures in folders and of arrays; what is missing counts as a folder, for ``prepare`` to tell.

    Raises:
        SartorError: other data serves several tasks.
    """
    from sartor import registry
    from sartor.errors import SartorError
    from sartor.media.image import SUFFIXES

    place = Path(what)
    pictures = place.is_dir() and any(path.suffix.lower() in SUFFIXES for path in place.rglob("*"))
    missing = not what.startswith("hub:") and not any(sign in what for sign in "*?[") and not place.exists()
    if pictures or missing or (place.is_dir() and not any(place.glob("*.*"))) or place.suffix.lower() == ".npz":
        return "image-classification"
    raise SartorError(f"{what} may serve several tasks; say with --task which: {', '.join(registry.names('tasks'))}")
