"""Claim: every package delivered meets every limit again, every impossible brief is refused by name, none runs over.

Requirements are drawn by a seed over all tasks: a set of data, limits and a budget of 30 to 60 seconds. Three of four
are possible, as scikit-learn proves on the same rows or by construction; one of four is impossible, by noise in the
truths, by counting bits, or because decoding or an empty Python alone takes more. Each is run by ``sartor run`` in a
workspace of its own (the machine's profile, probed once, is copied there: no training of one answers another). Packages
are re-measured by ``sartor verify`` in new processes, ``--after`` seconds or more behind the run; where there are rows
that no run has seen, once more on those. A wall time above 1.1 × the budget is an overrun.

    python benchmarks/meets_the_brief.py                        # 40 requirements, seed 7; about 50 minutes on two cores
    python benchmarks/meets_the_brief.py --seed 8 --count 60    # fresh ones
    python benchmarks/meets_the_brief.py --for 280              # a piece of it; the same command continues
    python benchmarks/meets_the_brief.py --only wine            # those whose names hold the word
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _protocol import RESULTS, conditions_line
from briefs import smoke
from briefs.course import Course, probe
from briefs.draw import Brief, draw
from briefs.facts import Facts, machine
from briefs.outcomes import rows_of, summary, write
from briefs.peers import PEERS, able, put
from briefs.peers import judged as peer_judged
from briefs.subjects import Made, Subject, subjects

SEED, COUNT = 7, 40
AFTER_S = 300.0
VERIFY_S, FRESH_S = 3.0, 0.5  # timed per process
VERIFY_TAKES_S = 40.0  # room for one re-measurement in a piece


class Piece:
    """How long this call may go on."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds if seconds else float("inf")

    def allows(self, seconds: float) -> bool:
        """Something that takes so long still fits."""
        return time.monotonic() + seconds <= self.ends


def main() -> int:
    """Everything, or a piece of it; 0 unless something broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=SEED, help="of the drawing (%(default)s)")
    parser.add_argument("--count", type=int, default=COUNT, help="requirements (%(default)s)")
    parser.add_argument("--only", default="", help="those whose names hold one of these words, with commas between")
    parser.add_argument(
        "--for", dest="piece", type=float, default=0.0, metavar="SECONDS", help="then stop, to be continued"
    )
    parser.add_argument("--after", type=float, default=AFTER_S, metavar="SECONDS",
                        help="from a run's end to its re-measurement (%(default).0f)")  # fmt: skip
    parser.add_argument("--peers", action="store_true", help="put them to peers too, when all of that is done")
    parser.add_argument("--made-up", action="store_true", help="without the real data beside the repository")
    parser.add_argument("--folder", type=Path, help="of all files (default: build/briefs-SEED here)")
    parser.add_argument("--results", type=Path, default=RESULTS / "briefs", help="folder of the CSV (%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="two tiny requirements, under a minute; proves nothing")
    asked = parser.parse_args()
    piece = Piece(asked.piece)
    print(f"CLAIM   {__doc__.splitlines()[0].removeprefix('Claim: ')}")
    if asked.smoke:
        with tempfile.TemporaryDirectory() as folder:
            return _work(Path(folder), smoke.briefs(Path(folder)), asked, piece, after=0.0, seconds=0.3)
    print(conditions_line(), flush=True)
    folder = asked.folder or Path("build") / f"briefs-{asked.seed}"
    folder = folder.resolve()
    wanted = _drawn(folder, asked.seed, asked.count, real=not asked.made_up)
    words = [word for word in asked.only.split(",") if word]
    wanted = [one for one in wanted if not words or any(word in one.name for word in words)]
    return _work(folder, wanted, asked, piece, after=asked.after, seconds=VERIFY_S)


def _drawn(folder: Path, seed: int, count: int, *, real: bool) -> list[Brief]:
    """The requirements; drawn once, as facts of time would be others the next time."""
    path = folder / "drawn.json"
    if not path.is_file():
        from threadpoolctl import threadpool_limits

        able = subjects(real=real)
        with threadpool_limits(1):  # of the references, which are timed
            made = {one.name: _make(folder / "data" / one.name, one, seed) for one in able}
        found = draw(seed, count, made, able, machine())
        path.write_text(json.dumps([asdict(one) for one in found], indent=1, ensure_ascii=False), encoding="utf-8")
    told = json.loads(path.read_text(encoding="utf-8"))
    return [Brief(**{**one, "binding": tuple(one["binding"])}) for one in told]


def _make(folder: Path, subject: Subject, seed: int) -> Made:
    """The files of a set and its facts, once."""
    path = folder / "made.json"
    if path.is_file():
        told = json.loads(path.read_text(encoding="utf-8"))
        return Made(told["data"], Facts(**told["facts"]), told["fresh"])
    _say(f"making {subject.name}")
    folder.mkdir(parents=True, exist_ok=True)
    made = subject.make(folder, np.random.default_rng([seed, zlib.crc32(subject.name.encode())]))
    path.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    return made


def _work(
    folder: Path, briefs: Sequence[Brief], asked: argparse.Namespace, piece: Piece, *, after: float, seconds: float
) -> int:
    course = Course(folder, probe(folder, _say))
    _verifies(course, briefs, piece, after, seconds, due=True)
    whole = _runs(course, briefs, piece) and _verifies(course, briefs, piece, after, seconds)
    if whole and asked.peers:
        whole = _peers(course, briefs, piece)
    rows = rows_of(course, briefs)
    print()
    print(summary(rows))
    if not whole:
        print("UNDONE  the same command continues")
        return 0
    path = write(asked.results, rows, seed=asked.seed, drawn=len(briefs), smoke=asked.smoke)
    print(f"WRITTEN {path}")
    return 0


def _runs(course: Course, briefs: Sequence[Brief], piece: Piece) -> bool:
    """All runs that are not there yet; False where the piece ended before."""
    for number, brief in enumerate(briefs, 1):
        if course.kept(brief, "run") is not None:
            continue
        if not piece.allows(1.15 * brief.seconds + 3):
            return False
        outcome = course.run(brief)
        over = outcome["wall_s"] / brief.seconds - 1
        _say(f"{number} of {len(briefs)} {brief.name}: exit {outcome['status']}, {outcome['wall_s']:.0f} s "
             f"({over:+.0%}), {outcome['sentence']}")  # fmt: skip
    return True


def _verifies(
    course: Course, briefs: Sequence[Brief], piece: Piece, after: float, seconds: float, *, due: bool = False
) -> bool:
    """Every package again, each long enough after its run; ``due``: only those whose time has come."""
    for brief in briefs:
        run = course.kept(brief, "run")
        if run is None or run["status"] != 0:
            continue
        for fresh in (False, True) if brief.fresh else (False,):
            if course.kept(brief, "fresh" if fresh else "verify") is not None:
                continue
            wait = run["ended"] + after - time.time()
            if due and wait > 0:
                continue
            if not piece.allows(max(0.0, wait) + VERIFY_TAKES_S):
                return False
            time.sleep(max(0.0, wait))
            found = course.verify(brief, fresh=fresh, seconds=FRESH_S if fresh else seconds)
            words = ", ".join(f"{one['limit']} {one['outcome']}" for one in found["limits"])
            _say(f"{brief.name} {'on fresh rows' if fresh else 'again'}: exit {found['status']}, {words}")
    return True


def _peers(course: Course, briefs: Sequence[Brief], piece: Piece) -> bool:
    """What peers make of those they can do."""
    for peer in PEERS:
        try:
            peer.environment.make(_say)
        except OSError as error:
            _say(f"{peer.name} is left out: {error}")
            continue
        for brief in able(peer, briefs):
            if course.kept(brief, f"peer-{peer.file}") is not None:
                continue
            if not piece.allows(1.3 * brief.seconds + 15):
                return False
            outcome = put(course, brief, peer)
            _say(f"{peer.name} {brief.name}: {', '.join(peer_judged(brief, outcome))}, {outcome['wall_s']:.0f} s")
    return True


def _say(line: str) -> None:
    print(f"… {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
