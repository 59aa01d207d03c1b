"""Opens a package: every byte is checked against the manifest before any content is parsed."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from sartor.codec import from_plain
from sartor.errors import Refused, SartorError
from sartor.pipeline import ENCODER
from sartor.stages.package import archive, golden
from sartor.stages.package.manifest import Manifest, check_manifest
from sartor.storage import telling_disk_errors
from sartor.types import Package, Pipeline, Requirement, RunFile

MAX_JSON_BYTES = 256 << 20
_Kind = TypeVar("_Kind")


class Contents:
    """A checked package and its documents, parsed when asked for.

    Args:
        place: what the user named.
        folder: where the files lie; for a ``.sartor`` file a private temporary folder, removed with this object.
    """

    def __init__(self, place: Path, folder: Path, manifest: Manifest) -> None:
        self.place, self.folder, self.manifest = place, folder, manifest

    def text(self, name: str) -> str:
        """A text file of the package.

        Raises:
            Refused: it is not there, too large or not UTF-8.
        """
        entry = self.manifest.files.get(name)
        if entry is None:
            raise Refused(f"{self.place} has no {name}; it is not a complete package")
        if entry.bytes > MAX_JSON_BYTES:
            raise Refused(f"{self.place}: {name} is too large to read ({entry.bytes:,} bytes)")
        try:
            return (self.folder / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise Refused(f"{self.place}: {name} is not UTF-8 text") from None

    def _parsed(self, kind: type[_Kind] | Any, name: str) -> Any:
        try:
            return from_plain(kind, json.loads(self.text(name)))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise Refused(f"{self.place}: {name} does not hold what it must ({reason})") from None

    @cached_property
    def pipeline(self) -> Pipeline:
        """How the model is run, with the labels that its file may leave to the encoder."""
        pipeline: Pipeline = self._parsed(Pipeline, "pipeline.json")
        if pipeline.model not in self.manifest.files:
            raise Refused(f"{self.place}: pipeline.json names the model {pipeline.model!r}, which is not there")
        encoder = self.manifest.files.get(ENCODER)
        if (encoder.sha256 if encoder else "") != pipeline.learnt:
            raise Refused(f"{self.place}: {ENCODER} is not the one that pipeline.json names")
        return pipeline if pipeline.labels else replace(pipeline, labels=self._listed)

    @cached_property
    def requirement(self) -> Requirement:
        """What was asked."""
        requirement: Requirement = self._parsed(Requirement, "requirement.json")
        return requirement

    @cached_property
    def run(self) -> RunFile:
        """The run that made it, with the decision and its evidence."""
        run: RunFile = self._parsed(RunFile, "decision.json")
        return run

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Labels in output order, the same in both documents that hold them."""
        if self._listed != self.pipeline.labels:
            raise Refused(f"{self.place}: labels.json and pipeline.json name different labels")
        return self._listed

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        labels = self._parsed(Any, "labels.json")
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise Refused(f"{self.place}: labels.json does not hold a list of labels")
        return tuple(labels)

    @cached_property
    def golden(self) -> tuple[golden.Pair, ...]:
        """Golden pairs."""
        pairs: tuple[golden.Pair, ...] = self._parsed(tuple[golden.Pair, ...], f"{golden.FOLDER}/golden.json")
        return pairs

    def golden_inputs(self) -> list[bytes]:
        """Bytes of the golden inputs, in the order of the pairs."""
        names = [f"{golden.FOLDER}/{pair.input}" for pair in self.golden]
        for name in names:
            if name not in self.manifest.files:
                raise Refused(f"{self.place}: {golden.FOLDER}/golden.json names {name!r}, which is not there")
        return [(self.folder / name).read_bytes() for name in names]

    @cached_property
    def golden_outputs(self) -> Any:
        """Outputs (n, …) of the golden pairs, in their order.

        Raises:
            Refused: they are no array, or not one row for each pair.
        """
        import numpy as np

        if golden.OUTPUTS not in self.manifest.files:
            raise Refused(f"{self.place} has no {golden.OUTPUTS}; it is not a complete package")
        try:
            # mapped, so that a shape larger than the file is an error before any memory is taken
            outputs = np.array(np.load(self.folder / golden.OUTPUTS, mmap_mode="r", allow_pickle=False))
        except (ValueError, OSError, EOFError, OverflowError, SyntaxError) as error:
            raise Refused(f"{self.place}: {golden.OUTPUTS} does not hold what it must ({error})") from None
        if outputs.ndim < 2 or outputs.dtype.kind not in "fiub" or len(outputs) != len(self.golden):
            raise Refused(f"{self.place}: {golden.OUTPUTS} does not hold one row of numbers for each golden pair")
        return outputs

    @property
    def package(self) -> Package:
        """The package in one value."""
        return describe(self.place, self.folder, self.manifest, self.requirement.name, self.pipeline.model)


def describe(place: Path, folder: Path, manifest: Manifest, name: str, model: str) -> Package:
    """Sum a checked package up."""
    manifest_bytes = (folder / "MANIFEST.json").stat().st_size
    size = sum(entry.bytes for entry in manifest.files.values()) + manifest_bytes
    sha256 = manifest.files[model].sha256
    return Package(str(place.resolve()), manifest.digest, name, len(manifest.files) + 1, size, sha256)


def open_package(path: Path | str) -> Contents:
    """Check a package folder or ``.sartor`` file and open it.

    Raises:
        Refused: it is no package, or a byte of it is not what its manifest says; the message names the file.
    """
    place = Path(path)
    if not place.exists():
        raise SartorError(f"{place} does not exist; give a package folder or a .sartor file")
    if place.is_dir():
        return Contents(place, place, check_manifest(place))
    with telling_disk_errors(Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix="sartor-package-"))
    try:
        archive.unpack(place, folder)
        contents = Contents(place, folder, _checked(place, folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(contents, shutil.rmtree, folder, True)
    return contents


def _checked(place: Path, folder: Path) -> Manifest:
    """Check an extracted package; messages name the file the user gave."""
    try:
        return check_manifest(folder)
    except Refused as error:
        raise Refused(str(error).replace(str(folder), str(place))) from None


def facts(contents: Contents) -> Mapping[str, Any]:
    """What a person wants to know of a package at a glance, as JSON values."""
    pipeline, package = contents.pipeline, contents.package
    return {
        "name": package.name,
        "digest": package.digest,
        "task": pipeline.task,
        "runtime": pipeline.runtime,
        "precision": pipeline.precision,
        "labels": len(contents.labels),
        "input_size": list(pipeline.input_size),
        "bytes": package.bytes,
    }
