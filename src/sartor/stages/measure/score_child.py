"""The process that runs an artifact over raw samples, through the very pipeline that ships.

Run as ``python -m sartor.stages.measure.score_child FOLDER``. FOLDER holds ``request.json`` and ``package/``; outputs
go to ``outputs.npy`` (n, …) in the model's own type. Rows of samples that could not be read are NaN, or 0 where that
type has no NaN; their positions are in the result. It never sees a truth.
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
    outputs: Array | None = None
    broken: list[int] = []
    for start in range(0, len(chosen), size):
        good, ran = _outputs(predictor, samples, chosen[start : start + size])
        broken += sorted({*range(start, min(start + size, len(chosen)))} - {start + position for position in good})
        if ran is not None:
            if outputs is None:
                nothing = np.nan if ran.dtype.kind == "f" else 0
                outputs = np.full((len(chosen), *ran.shape[1:]), nothing, ran.dtype)
            outputs[start + np.array(good)] = ran
        say(f"{min(start + size, len(chosen))} {len(chosen)}")
    if outputs is None:
        raise DataError(f"none of the {len(chosen)} samples of the {request['split']} split can be read any more")
    np.save(folder / "outputs.npy", outputs, allow_pickle=False)
    return {
        "broken": broken,
        "effective_precision": predictor.session.effective_precision,
        "runtime_version": predictor.session.version,
    }


def _outputs(predictor: Predictor, samples: SampleSet, chosen: Sequence[int]) -> tuple[list[int], Array | None]:
    """Positions of the samples that can be read, and their outputs (n, …); None if there are none."""
    good: list[int] = []
    prepared: list[Array] = []
    for position, sample in enumerate(chosen):
        try:
            prepared.append(predictor.prepare(samples.raw(sample)))
            good.append(position)
        except DataError:
            continue
    return good, predictor.run(prepared) if prepared else None


if __name__ == "__main__":
    answer(work)
