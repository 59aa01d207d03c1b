"""Conformance of compressors: what every plug-in of the catalogue ``compressors`` must do.

A plug-in's own tests run all of it::

    @pytest.mark.parametrize("check", CHECKS)
    def test_conformance(check, tmp_path):
        check("my-compressor", tmp_path)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor import registry
from sartor.codec import canonical_json
from sartor.errors import MissingExtra, Unsupported
from sartor.storage import file_sha256
from sartor.testing.runtimes import INPUT_SHAPE, device, example_input, write_example_for

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

CALIBRATION_SAMPLES = 37  # no multiple of the example's batch, on purpose
ALLOWED_CHANGE = 0.05  # of a probability of the example; int8 rounding costs about 0.005
ALLOWED_COARSE = 0.15  # in 4 bits the example's random weights lose more than trained ones
ALLOWED_RESHAPED = 0.2  # the example's random weights have no smaller shape that would be as good
ALLOWED_DISAGREEMENT = 0.02  # between two runtimes on the same file


def calibration() -> Array:
    """Samples like those the example is judged on, (n, height, width, channels) uint8."""
    shape = (CALIBRATION_SAMPLES, *INPUT_SHAPE[1:])
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def compressed(name: str, folder: Path, file: str = "compressed") -> tuple[Path, Path]:
    """The example model and what a compressor makes of it with the options that suit the test device."""
    compressor = registry.get("compressors", name)
    source, target = folder / "source", folder / file
    write_example_for(name, source)
    compressor.apply(source, target, calibration(), compressor.options(device()), 0)
    return source, target


def check_names_itself(name: str, folder: Path) -> None:
    """Name, formats, precision and provenance are there; options are plain values."""
    compressor = registry.get("compressors", name)
    assert compressor.name == name
    assert compressor.accepts
    assert compressor.produces
    assert compressor.precision
    assert isinstance(compressor.extra, str)
    assert compressor.provenance.source
    assert compressor.provenance.licence
    for sets in ((), ("neon",), ("avx2",), ("avx2", "avx512f", "avx512_vnni")):
        canonical_json(compressor.options(device(sets)))


def check_writes_one_file(name: str, folder: Path) -> None:
    """The source stays as it was, and nothing lies beside the target."""
    write_example_for(name, folder / "before")
    source, target = compressed(name, folder)
    assert file_sha256(source) == file_sha256(folder / "before")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["before", source.name, target.name])


def check_is_deterministic(name: str, folder: Path) -> None:
    """The same input gives the same bytes."""
    _, first = compressed(name, folder, "first")
    _, second = compressed(name, folder, "second")
    assert file_sha256(first) == file_sha256(second)


def check_keeps_the_contract(name: str, folder: Path) -> None:
    """The graph is valid and still takes and gives what it did."""
    import onnx

    source, target = compressed(name, folder)
    if registry.get("compressors", name).produces != "onnx":
        return
    parent, child = onnx.load(source), onnx.load(target)
    onnx.checker.check_model(child, full_check=True)
    for before, after in zip(
        (*parent.graph.input, *parent.graph.output), (*child.graph.input, *child.graph.output), strict=True
    ):
        assert _plain(after) == _plain(before)


def check_answers_like_its_parent(name: str, folder: Path) -> None:
    """In every runtime that takes the file, at the precision claimed, answers stay near and runtimes agree."""
    source, target = compressed(name, folder)
    plugin = registry.get("compressors", name)
    run_as = getattr(plugin, "repairs", name)  # a repaired file is run like what it repairs
    allowed = ALLOWED_CHANGE if getattr(plugin, "weight_bytes", 1.0) >= 1 else ALLOWED_COARSE
    if getattr(plugin, "reshapes", False):
        run_as, allowed = "none", ALLOWED_RESHAPED
    answers: list[list[Array]] = []
    for runtime in _runtimes(registry.get("compressors", name).produces):
        for precision, compressor in runtime.precisions(device()).items():
            if compressor != run_as or precision == "bf16":  # whether the machine has bf16 is not this suite's question
                continue
            session = runtime.load(target, precision, 1)
            parent = runtime.load(source, "fp32", 1)
            answers.append([])
            for seed in range(5):
                batch = example_input(seed)
                answers[-1].append(session.run(batch))
                assert np.abs(answers[-1][-1] - parent.run(batch)).max() <= allowed, runtime.name
            assert session.effective_precision == precision, runtime.name
    assert answers, f"no runtime runs what {name} makes"
    for others in answers[1:]:
        assert np.abs(np.array(others) - np.array(answers[0])).max() <= ALLOWED_DISAGREEMENT


def check_refuses_unknown_options(name: str, folder: Path) -> None:
    """An option it does not know is declined with a reason, and nothing is written."""
    compressor = registry.get("compressors", name)
    source, target = folder / "source", folder / "target"
    write_example_for(name, source)
    refused: Unsupported | None = None
    try:
        compressor.apply(source, target, calibration(), {"no_such_option": 1}, 0)
    except Unsupported as refusal:
        refused = refusal
    assert refused is not None, "an unknown option was accepted"
    assert "no_such_option" in refused.detail
    assert not target.exists()


def _plain(value: Any) -> tuple[str, int, list[int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [side.dim_value for side in tensor.shape.dim]


def _runtimes(accepted: str) -> Iterator[Any]:
    for runtime in registry.every("runtimes"):
        try:
            runtime.version()
        except MissingExtra:
            continue
        if accepted in runtime.accepts and not runtime.reference:
            yield runtime


CHECKS: tuple[Callable[[str, Path], None], ...] = (
    check_names_itself,
    check_writes_one_file,
    check_is_deterministic,
    check_keeps_the_contract,
    check_answers_like_its_parent,
    check_refuses_unknown_options,
)
