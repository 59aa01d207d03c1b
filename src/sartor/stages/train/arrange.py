"""The public function ``arrange``: what a training reads of the data, made before it, for a machine without the data.

No torch here: preparing samples needs none.
"""

from __future__ import annotations

from pathlib import Path

from sartor import registry
from sartor.evidence import Workspace
from sartor.jobs import ArrangeResult, TrainJob
from sartor.prepared import open_data
from sartor.prepared.samples import stem
from sartor.progress import Tell, silent

SPLITS = ("train", "validation")


def arrange(job: TrainJob, workspace: Workspace, tell: Tell = silent) -> ArrangeResult:
    """Prepare all samples of train and validation for a training; the files that hold all it reads.

    Where they lie in another workspace at the same paths, :func:`train` runs there without the sources of the data.
    Nothing of the test split is among them.

    Raises:
        DataError: the data is not prepared in this workspace, or a sample can no longer be read.
        StorageError: the disk is full.
    """
    data, size, encoding = open_data(job.data, workspace), job.network.input_size, job.network.encoding
    tell(f"{job.network.id}: preparing its samples, to send them")
    for name in SPLITS:
        data.split(name).prepared(size, encoding)
        data.split(name).targets(size, encoding)
    data.statistics(size, encoding)
    data.learnt(size, encoding)
    folder, ending = workspace.data_folder(job.data), f"-{stem(registry.get('tasks', job.task), size, encoding)}"
    made = [path for path in (folder / "cache").iterdir() if path.stem.endswith(ending) and _wanted(path)]
    index = [path for path in data.index.iterdir() if _wanted(path) and not path.name.startswith("pack-")]
    files = sorted([*index, *made, folder / "current.json"])
    return ArrangeResult(tuple(str(path.relative_to(workspace.root)) for path in files))


def _wanted(path: Path) -> bool:
    return path.is_file() and not path.name.startswith((".", "test-"))
