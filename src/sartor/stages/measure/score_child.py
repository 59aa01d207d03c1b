"""The process that runs an artifact over raw samples, through the very pipeline that ships.

Run as ``python -m sartor.stages.measure.score_child FOLDER``. FOLDER holds ``request.json`` and ``package/``; outputs
go to ``outputs.npy`` (n, outputs) float32, samples that could not be read are rows of NaN. It never sees a truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import DataError
from sartor.evidence import Workspace
from sartor.pipeline import Predictor
from sartor.prepared import SampleSet, open_data
from sartor.stages.measure.child import Say, answer

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

_CHUNK = 64  # samples between two signs of life, at least one batch


def work(folder: Path, request: Mapping[str, Any], say: Say) -> Mapping[str, Any]:
    """Outputs of the chosen samples, in order, and the positions of those that are broken."""
    predictor = Predictor(folder / "package")
    say("loaded")
    samples = open_data(request["data"], Workspace(Path(request["workspace"]))).split(request["split"])
    chosen: Sequence[int] = request["chosen"]
    size = max(1, _CHUNK // predictor.pipeline.batch) * predictor.pipeline.batch
    rows: list[Array] = []
    broken: list[int] = []
    for start in range(0, len(chosen), size):
        rows.append(_outputs(predictor, samples, chosen[start : start + size], start, broken))
        say(f"{min(start + size, len(chosen))} {len(chosen)}")
    width = max(part.shape[1] for part in rows)
    if not width:
        raise DataError(f"none of the {len(chosen)} samples of the {request['split']} split can be read any more")
    outputs = np.full((len(chosen), width), np.nan, np.float32)
    position = 0
    for part in rows:
        if part.shape[1]:
            outputs[position : position + len(part)] = part
        position += len(part)
    np.save(folder / "outputs.npy", outputs, allow_pickle=False)
    return {
        "broken": broken,
        "effective_precision": predictor.session.effective_precision,
        "runtime_version": predictor.session.version,
    }


def _outputs(predictor: Predictor, samples: SampleSet, chosen: Sequence[int], start: int, broken: list[int]) -> Array:
    """Outputs (n, outputs) of some samples; NaN for broken ones, whose positions are noted; (n, 0) if all are."""
    good: list[int] = []
    prepared: list[Array] = []
    for position, sample in enumerate(chosen):
        try:
            prepared.append(predictor.prepare(samples.raw(sample)))
            good.append(position)
        except DataError:
            broken.append(start + position)
    if not prepared:
        return np.empty((len(chosen), 0), np.float32)
    ran = predictor.run(prepared)
    outputs = np.full((len(chosen), ran.shape[1]), np.nan, np.float32)
    outputs[good] = ran
    return outputs


if __name__ == "__main__":
    answer(work)
