"""One process of a training on several: ``torchrun … -m sartor.stages.train.rank WORKSPACE JOB``.

``WORKSPACE`` and ``JOB`` (a file that the launching process wrote) have to be there on every machine that takes part.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from sartor.codec import digest, from_plain, to_plain
from sartor.errors import SartorError, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ThroughputJob, TrainJob
from sartor.stages.train._launch import die_with_parent, has_answer, write_answer
from sartor.storage import write_text


def main() -> int:
    """Take part; 0 when the job is done or declined, else torchrun starts all ranks again."""
    die_with_parent()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to stderr, not among the progress
    workspace, path = Workspace(Path(sys.argv[1])), Path(sys.argv[2])
    request = json.loads(path.read_text())
    job: TrainJob | ThroughputJob = from_plain(
        {"TrainJob": TrainJob, "ThroughputJob": ThroughputJob}[request["kind"]], request["job"]
    )
    place = path.parent  # where the launching process looks
    if has_answer(place):
        return 0
    try:
        result = _take_part(job, workspace, out)
    except Unsupported as refusal:
        write_answer(place, {"refusal": {"code": refusal.code, "detail": refusal.detail}})
        return 1  # the others wait for this one; started again, all find the answer
    except SartorError as error:
        write_answer(place, {"error": str(error), "kind": type(error).__name__})
        return 1
    if result is not None:
        write_answer(place, {"result": to_plain(result)})
    return 0


def _take_part(job: TrainJob | ThroughputJob, workspace: Workspace, out: TextIO) -> Any:
    from sartor.stages.train._fitting import PARTS
    from sartor.stages.train._gradients import Smaller
    from sartor.stages.train._machine import training_device
    from sartor.stages.train._ranks import joined
    from sartor.stages.train.training import probe_here, train_here

    device = training_device()
    if device.type == "cuda":
        import torch

        torch.cuda.set_device(device)
    with joined(device) as ranks:

        def tell(text: str, share: float | None = None) -> None:
            if ranks.leads:
                out.write(json.dumps({"progress": text, "share": share}) + "\n")

        try:
            if isinstance(job, ThroughputJob):
                found: Any = probe_here(job, workspace, tell, ranks)
            else:
                found = train_here(job, workspace, tell, ranks)
        except Smaller as wish:
            write_text(workspace.scratch(digest(job)) / PARTS, str(wish.parts))
            os._exit(3)  # the others wait in an exchange that never ends; torchrun ends them and starts all again
    return found if ranks.leads else None


if __name__ == "__main__":
    sys.exit(main())
