"""Who is who: people enrolled with embeddings of their pictures, against which a face is verified or identified."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sartor.catalog.tasks.parts.faces_pairs import unit_rows
from sartor.catalog.tasks.parts.faces_scores import THRESHOLDS
from sartor.errors import DataError
from sartor.media.image import SUFFIXES
from sartor.storage import write_text
from sartor.types import Pipeline, RunFile

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

UNKNOWN, NO_FACE = "unknown", "no face"
FALSE_ACCEPTS = 0.001
MOST_NAMED = 5  # people of a gallery, the most similar first
PROBE_TOLERANCE = 0.02  # of each number: the same file on another machine stays far below, another model far above


class Embedder(Protocol):
    """What gives embeddings: ``sartor.load(package)``, or ``sartor.pipeline.Predictor``."""

    @property
    def pipeline(self) -> Pipeline:
        """How the model is run."""

    def outputs(self, raws: Sequence[bytes]) -> Any:
        """Embeddings (n, d) of pictures, given as the bytes of their files."""


@dataclass(frozen=True)
class Gallery:
    """Enrolled people. A person is as similar to a face as the most similar of his pictures is.

    Args:
        people: name of the person on each enrolled picture, (n,).
        embeddings: of the pictures, (n, d), of length 1.
        threshold: the similarity from which on two pictures count as one person.
        probe: embedding of a fixed picture of noise, (d,): tells the model they were made by from all others, whose
            embeddings have nothing in common with these.

    Example:
        >>> model = sartor.load("runs/faces/package")                                        # doctest: +SKIP
        >>> gallery = Gallery.enrol(model, {"Ada": [Path("ada.png").read_bytes()]})          # doctest: +SKIP
        >>> gallery.identify(model, Path("visitor.png").read_bytes())["label"]               # doctest: +SKIP
        'Ada'
    """

    people: tuple[str, ...]
    embeddings: Array
    threshold: float
    probe: Array

    @staticmethod
    def enrol(
        model: Embedder,
        people: Mapping[str, Iterable[bytes]],
        *,
        threshold: float | None = None,
        false_accepts: float | None = FALSE_ACCEPTS,
    ) -> Gallery:
        """Enrol people by their pictures, some of each in different light and expression.

        Args:
            model: a loaded package.
            people: name -> pictures of that person alone, as the bytes of their files.
            threshold: None for the one at which the run that made the package saw ``false_accepts`` (see
                :func:`threshold_of`); a package asked for by ``Predictor`` knows no run.
            false_accepts: share of strangers that may pass, per enrolled person and question; see
                :func:`threshold_of`.

        Raises:
            DataError: nobody was given, a name has no pictures, a picture is broken or gives no embedding, or no
                threshold is known.
        """
        pictures = [(name, raw) for name, raws in people.items() for raw in raws]
        empty = set(people) - {name for name, _ in pictures}
        if not pictures or empty:
            raise DataError(f"there is no picture of {', '.join(sorted(empty)) or 'anybody'}; give at least one each")
        if threshold is None:
            threshold = threshold_of(getattr(model, "run", None), false_accepts)
        embeddings, failed = unit_rows(np.stack([_embedding(model, name, raw) for name, raw in pictures]))
        if failed.any():
            name = pictures[int(np.argmax(failed))][0]
            raise DataError(f"no face is found in a picture of {name}, so it cannot be enrolled; take another one")
        names = tuple(name for name, _ in pictures)
        return Gallery(names, embeddings.astype(np.float32), float(threshold), _probe(model))

    @staticmethod
    def open(model: Embedder, place: str | Path, *, false_accepts: float | None = None) -> Gallery:
        """The gallery at a place: a file that :meth:`save` wrote, or pictures that are enrolled now.

        Args:
            model: a loaded package.
            place: a folder with one folder per person, or with one picture per person, named after them; one picture;
                or the file.
            false_accepts: as :func:`threshold_of`; None keeps the threshold of a file.

        Raises:
            DataError: there is nobody in it; as :meth:`enrol` and :meth:`load`.
        """
        place = Path(place)
        if place.suffix.lower() == ".json":
            gallery = Gallery.load(place, model)
            if false_accepts is None:
                return gallery
            return replace(gallery, threshold=threshold_of(getattr(model, "run", None), false_accepts))
        people: dict[str, list[bytes]] = {}
        for name, path in _pictures(place):
            people.setdefault(name, []).append(path.read_bytes())
        if not people:
            raise DataError(f"{place} holds no picture of anybody; give a folder with one folder per person")
        return Gallery.enrol(model, people, false_accepts=false_accepts)

    def identify(self, model: Embedder, raw: bytes) -> dict[str, Any]:
        """The most similar person, or ``unknown``; as the task answers, with ``similarity`` and ``nearest``."""
        pipeline = replace(model.pipeline, options={**model.pipeline.options, **self.options()})
        return name_face(np.asarray(model.outputs([raw])[0]), pipeline)

    def verify(self, model: Embedder, raw: bytes, name: str) -> dict[str, Any]:
        """Whether a picture shows the person it is said to: ``same``, ``similarity`` and ``threshold``.

        Raises:
            DataError: nobody of that name is enrolled.
        """
        mine = [number for number, person in enumerate(self.people) if person == name]
        if not mine:
            raise DataError(f"{name!r} is not enrolled; there are {', '.join(sorted(set(self.people))[:8])}")
        unit, _ = unit_rows(np.asarray(model.outputs([raw])))
        similarity = float((self.embeddings[mine] @ unit[0]).max())
        return {"same": similarity >= self.threshold, "similarity": similarity, "threshold": self.threshold}

    def options(self) -> dict[str, Any]:
        """What ``Pipeline.options`` holds for the task to answer with names."""
        return {"people": list(self.people), "embeddings": self.embeddings, "threshold": self.threshold}

    def save(self, path: str | Path) -> None:
        """Write it as JSON. Embeddings tell people apart: keep the file as you would keep their pictures."""
        content = {
            "format": 1, "people": list(self.people), "threshold": self.threshold,
            "probe": self.probe.tolist(), "embeddings": self.embeddings.tolist(),
        }  # fmt: skip
        write_text(Path(path), json.dumps(content))

    @staticmethod
    def load(path: str | Path, model: Embedder) -> Gallery:
        """Read what :meth:`save` wrote, for the model it was enrolled with.

        Raises:
            DataError: it is no gallery, or another model's.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            people = tuple(str(name) for name in content["people"])
            embeddings, probe = (np.asarray(content[name], np.float32) for name in ("embeddings", "probe"))
            gallery = Gallery(people, embeddings, float(content["threshold"]), probe)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is not a gallery ({error}); make one with Gallery.enrol") from None
        if embeddings.ndim != 2 or len(embeddings) != len(people) or not np.isfinite(embeddings).all():
            raise DataError(f"{path} has {len(people)} names for embeddings of shape {embeddings.shape}; enrol anew")
        own = _probe(model)
        if own.shape != probe.shape or not np.allclose(own, probe, atol=PROBE_TOLERANCE):
            raise DataError(f"{path} was enrolled with another model, whose embeddings mean nothing here; enrol anew")
        return gallery


def verify(model: Embedder, left: bytes, right: bytes, threshold: float | None = None) -> dict[str, Any]:
    """Whether two pictures show one person: ``same``, ``similarity`` (a cosine, -1..1) and ``threshold``.

    Example:
        >>> verify(model, Path("a.png").read_bytes(), Path("b.png").read_bytes())["same"]  # doctest: +SKIP
        True
    """
    if threshold is None:
        threshold = threshold_of(getattr(model, "run", None), 0.001)
    unit, failed = unit_rows(np.asarray(model.outputs([left, right])))
    similarity = -1.0 if failed.any() else float(unit[0] @ unit[1])
    return {"same": similarity >= threshold, "similarity": similarity, "threshold": threshold}


def threshold_of(run: RunFile | None, false_accepts: float | None) -> float:
    """The similarity at which the run that made a package saw at most so many false accepts.

    Args:
        run: what made the package.
        false_accepts: a share of strangers; None for 0.001, or the least one that is known where that is not.

    Raises:
        DataError: the run knows none for a rate so small; the ones it knows are listed.
    """
    insight = run.insights.get(run.decision.chosen) if run is not None else None
    tables = [table for table in insight.tables if table.title == THRESHOLDS] if insight is not None else []
    known = {float(row[0]): float(row[1]) for table in tables for row in table.rows}
    if false_accepts is None:
        false_accepts = max(FALSE_ACCEPTS, min(known, default=0.0))
    fitting = [rate for rate in known if rate <= false_accepts * (1 + 1e-9)]
    if not fitting:
        listed = ", ".join(f"{rate:g}" for rate in sorted(known)) or "none at all"
        raise DataError(
            f"no threshold is known for {false_accepts:g} false accepts (but for {listed}); "
            "take one of those, or give threshold="
        )
    return known[max(fitting)]


def name_face(output: Array, pipeline: Pipeline) -> dict[str, Any]:
    """An embedding (d,) as an answer: the most similar enrolled person where there is a gallery, else ``unknown``.

    With a gallery ``top`` names the most similar people with their similarities, ``unknown`` first where that is the
    answer; ``note`` says in a sentence what the answer rests on.

    Raises:
        DataError: it is not finite.
    """
    if not np.isfinite(output).all():
        raise DataError("the model's output is not finite for this input, so there is no answer")
    options = pipeline.options
    answer: dict[str, Any] = {"label": UNKNOWN, "embedding": [float(value) for value in output]}
    if "threshold" in options:
        answer["threshold"] = float(options["threshold"])
    unit, failed = unit_rows(np.asarray(output)[None])
    if failed[0]:
        return answer | {"label": NO_FACE, "note": "no face was found in the picture, so it is compared with nobody"}
    if not options.get("people"):
        return answer | {"note": "nobody is enrolled, so nobody is named: open a gallery (--gallery)"}
    likest: dict[str, float] = {}
    for name, cosine in zip(options["people"], np.asarray(options["embeddings"], np.float32) @ unit[0], strict=True):
        likest[name] = max(float(cosine), likest.get(name, -1.0))
    ranked = sorted(likest, key=lambda name: -likest[name])
    shares = [min(1.0, max(0.0, likest[name])) for name in ranked]
    named = [{"label": name, "confidence": share} for name, share in zip(ranked, shares, strict=True)]
    nearest, similarity, threshold = ranked[0], likest[ranked[0]], answer["threshold"]
    if similarity < threshold:
        named.insert(0, {"label": UNKNOWN, "confidence": 1.0 - shares[0]})
    note = f"similarity to {nearest} {similarity:.3f}; from {threshold:.3f} on it counts as one person"
    known = {"similarity": similarity, "nearest": nearest, "top": named[: int(options.get("top_k", MOST_NAMED))]}
    return answer | named[0] | known | {"note": note}


def _pictures(place: Path) -> Iterator[tuple[str, Path]]:
    """Who is on which picture: of a folder per person, of pictures named after people, or of one picture."""
    if place.is_file():
        yield place.stem, place
        return
    try:
        children = sorted(child for child in place.iterdir() if not child.name.startswith("."))
    except OSError as error:
        raise DataError(f"{place} cannot be opened as a gallery ({error.strerror})") from None
    for child in children:
        inside = sorted(child.rglob("*")) if child.is_dir() else [child]
        yield from (
            (child.name if child.is_dir() else child.stem, path)
            for path in inside
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )


def _embedding(model: Embedder, name: str, raw: bytes) -> Array:
    try:
        return np.asarray(model.outputs([raw])[0])
    except DataError as error:
        raise DataError(f"a picture of {name} cannot be enrolled: {error}") from None


def _probe(model: Embedder) -> Array:
    from sartor.media.image import noise_pictures

    return np.asarray(model.outputs(noise_pictures(1, (64, 64), seed=0))[0], np.float32)
