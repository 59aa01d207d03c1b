"""Claim: what Sartor compresses dominates every peer, and runs 4 × (ResNet, BERT: 8 ×) as fast as fp32 at 1 % loss.

Networks that Sartor trained itself, a minute or so each: a CNN, a text transformer, a perceptron. One side is
every form that the catalogue makes of them, in every runtime installed; the other sides are the quantiser of ONNX
Runtime, NNCF, Intel Neural Compressor, torchao and torch-pruning, each with its defaults. Every form answers the same
test rows, and is timed in a process of its own, all in turn in one run, against ONNX Runtime on the fp32 file.

Of each side is told the hypervolume of (metric, p95, bytes), from the reference point that loses 10 % of the parent's
metric and saves nothing; whether each form of a peer is dominated by one of ours, in all three; and the fastest form
that loses at most 1 % of the metric.

    python benchmarks/compress_frontier.py --environments   # of the peers: once, gigabytes; without it they are named
    python benchmarks/compress_frontier.py                  # trains and compresses what is not there, times, writes
    python benchmarks/compress_frontier.py --make           # all but the timing
    python benchmarks/compress_frontier.py --minutes 4      # begins no further subject after 4 minutes; call again
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from _protocol import BLOCKS, RESULTS, conditions_line, slug
from frontier import peers, recording, subjects
from frontier.rows import rows_of, table, write
from frontier.verdict import Case, overall, rulings

from sartor.catalog.devices.local import identify
from sartor.errors import SartorError

KEPT = peers.CACHE / "frontier"
TURN_S, SMOKE_TURN_S = 0.4, 0.02
SMOKE_ROUNDS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; 0 when all subjects are there, 3 when some are left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [subject.name for subject in subjects.SUBJECTS]
    told = "all, but digits where there is cifar10"
    parser.add_argument("--environments", action="store_true", help="make the peers' environments, nothing else")
    parser.add_argument("--make", action="store_true", help="train and compress; time nothing")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further subject after so long")
    parser.add_argument("--threads", type=int, default=1, help="of every form (%(default)s)")
    parser.add_argument("--rounds", type=int, default=BLOCKS, help="of a turn each (%(default)s)")
    parser.add_argument("--subjects", nargs="*", choices=names, help=f"({told})")
    parser.add_argument("--peers", nargs="*", choices=peers.SIDES, default=list(peers.SIDES), metavar="PEER")
    parser.add_argument("--keep", type=Path, default=KEPT, help="where networks, forms and timings lie (%(default)s)")
    parser.add_argument("--again", action="store_true", help="time anew what is timed, make anew what failed")
    parser.add_argument("--results", type=Path, default=RESULTS / "frontier", help="(%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="one tiny network, ONNX Runtime's quantiser; no result")
    asked = parser.parse_args(arguments)
    print(f"CLAIM {(__doc__ or '').splitlines()[0].removeprefix('Claim: ')}", flush=True)
    if asked.environments:
        return _environments(asked)
    with TemporaryDirectory(prefix="sartor-frontier-") as passing:
        if asked.smoke:
            asked.keep, asked.rounds, asked.peers = Path(passing), SMOKE_ROUNDS, ["ONNX Runtime"]
            if asked.results == RESULTS / "frontier":  # what a smoke run measures is nobody's result
                asked.results = Path(passing) / "results"
        return _work(asked)


def _say(line: str) -> None:
    print(f"… {line}", flush=True)


def _environments(asked: argparse.Namespace) -> int:
    """Make those of the peers asked for; 1 where one cannot be."""
    wanted = {peer.environment for peer in peers.all_peers(asked.peers) if peer.environment is not None}
    failed = 0
    for environment in sorted(wanted, key=lambda one: one.name):
        try:
            environment.make(_say)
        except OSError as error:
            print(error, file=sys.stderr)
            failed = 1
    return failed


def _work(asked: argparse.Namespace) -> int:
    chosen = list(peers.all_peers(asked.peers))
    wanted = [subjects.SMOKE] if asked.smoke else subjects.wanted(asked.subjects)
    began, left = time.monotonic(), 0
    cases: list[Case] = []
    rows = []
    for subject in wanted:
        folder = asked.keep / subject.name
        timed = folder / f"timed-{asked.threads}threads.json"
        done = (folder / "facts.json").is_file() if asked.make else timed.is_file() and not asked.again
        if not done and time.monotonic() - began > 60 * asked.minutes:
            left += 1
            continue
        try:
            facts = subjects.make(subject, folder, _say)
        except (subjects.NoData, SartorError, ImportError) as why:
            print(f"SKIPPED {subject.name}: {why}", file=sys.stderr)
            continue
        found = list(recording.entries(folder, facts["kind"], chosen, _say, again=asked.again))
        if asked.make:
            continue
        if asked.again or not timed.is_file():
            _say(f"{subject.name}: timing {len(found)} forms in turn, {asked.threads} thread(s)")
            seconds = SMOKE_TURN_S if asked.smoke else TURN_S
            recorded = recording.record(folder, found, asked.threads, asked.rounds, seconds, asked.keep)
            timed.write_text(json.dumps(recorded), encoding="utf-8")
        recorded = json.loads(timed.read_text(encoding="utf-8"))
        case = recording.case_of(folder, found, recorded)
        print(table(case), flush=True)
        cases.append(case)
        rows += rows_of(case, facts, found, recorded)
    if left:
        print(f"{left} of {len(wanted)} subjects are left; call again to go on")
        return 3
    if asked.make or not cases:
        return 0
    return _conclude(cases, rows, asked)


def _conclude(cases: Sequence[Case], rows: list[dict[str, object]], asked: argparse.Namespace) -> int:
    print(f"MACHINE {conditions_line()}")
    parts = rulings(cases, asked.peers)
    for part in parts:
        print(f"{part.word:<7} {part.what}")
    print(f"{overall(parts):<7} {len(cases)} subjects, {len(asked.peers)} peers")
    stem = f"compress_frontier-{len(cases)}subjects-{asked.threads}threads-{slug(identify().name)}"
    stem += f"-{asked.rounds}rounds"
    print(f"WRITTEN {write(asked.results / f'{stem}.csv', rows, parts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
