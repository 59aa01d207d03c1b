"""Claim: on every example the chosen package scores as well as the best peer, at a fifth of its p95 or of its size.

Runs the contests of all examples one after the other, each from nothing: Sartor's own run in its time, the peers for
as long, six blocks. Made for a machine that has nothing else to do. A contest that fails to run stops no other; the
last lines sum up, and the rows are in ``results/tasks/*.csv``.

    python benchmarks/tasks/every.py                                # about 40 minutes on two cores
    python benchmarks/tasks/every.py --only spambase,movielens      # these alone
    python benchmarks/tasks/every.py --scale 2                      # everybody has twice the time
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"


class Turn(NamedTuple):
    """An example, its contest, and the seconds of everybody in it."""

    example: str
    script: str
    seconds: float
    peers: str = ""
    objectives: str = ""


TURNS = (
    Turn("spambase", "tabular", 60),
    Turn("diamonds", "tabular", 120, objectives="{rmse: 1000, latency_p95_ms: 1}"),  # score before all else
    Turn("sms_spam", "text_classification", 60),
    Turn("hotel_zh", "text_classification", 60),
    Turn("movielens", "recommendation", 90),
    Turn("orl_faces", "face_recognition", 60),
    Turn("blood_cells", "object_detection", 120, "FCOS"),  # the stronger of its recipes in so short a time
    Turn("street_scenes", "image_segmentation", 120, "U-Net"),
)


def main() -> int:
    """All of them; 1 where one did not come to an end."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--only", default="", help="examples, with commas between")
    made.add_argument("--scale", type=float, default=1.0, help="of all times (%(default)s)")
    made.add_argument("--smoke", action="store_true", help="each contest on tiny made-up data; proves nothing")
    asked, further = made.parse_known_args()
    print(f"CLAIM   {__doc__.splitlines()[0].removeprefix('Claim: ')}")
    started, ends, broken = time.monotonic(), [], False
    for turn in TURNS:
        if asked.only and turn.example not in asked.only.split(","):
            continue
        print(f"\n=== {turn.example}, after {time.monotonic() - started:.0f} s", flush=True)
        command = [sys.executable, "-u", str(HERE / f"{turn.script}.py"), *further]
        if asked.smoke:
            command += ["--smoke"]
        else:
            command += ["--requirement", str(EXAMPLES / f"{turn.example}.yaml")]
            command += ["--time", f"{turn.seconds * asked.scale:.0f}s", "--peers", turn.peers]
            command += ["--objectives", turn.objectives]
        last = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                last = line.strip() or last
        broken |= process.returncode != 0
        ends.append(f"{turn.example:14} {last}")
    print(f"\n=== all, after {time.monotonic() - started:.0f} s")
    print("\n".join(ends))
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
