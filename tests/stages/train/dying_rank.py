"""A rank that writes a checkpoint after every step; the second one kills itself once (run by test_ranks)."""

import os
import signal
import sys
from pathlib import Path

from sartor.stages.train import _loop
from sartor.stages.train.rank import main

_loop.CHECKPOINT_EVERY_S, _loop._CHECKPOINT_SHARE = 0.0, 1e9
take_step = _loop.Training.take_step
mark = Path(os.environ["DIED"])


def dying(self, step):
    if step == 6 and os.environ["RANK"] == "1" and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with mark.with_suffix(f".{os.environ['RANK']}").open("a") as steps:
        steps.write(f"{step}\n")
    return take_step(self, step)


_loop.Training.take_step = dying
sys.exit(main())
