"""Claim: a tenth of an exhaustive search's cost buys 99 % of the best score there is, and no peer does better.

An exhaustive grid (every network trained to every rung of epochs, every deployment timed and scored) was recorded once
per task, and is replayed here: every searcher gives and takes what was recorded. ``python benchmarks/search.py record
REQUIREMENT NAME`` records one more, in pieces.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles

from _search_made_up import made_up
from _search_peers import PEERS, search
from _search_world import RecordedWorld, Recording, asked, plan, read_recording

from sartor.findings import Findings
from sartor.types import Limit

HERE = Path(__file__).resolve().parent
RECORDINGS = HERE / "results" / "search"
BUDGETS = (0.025, 0.05, 0.1, 0.2, 0.4)  # of the grid's cost
BAR, AT = 0.99, 0.1
OURS = "Sartor"
REQUIREMENTS, SEEDS = 6, 3


@dataclass(frozen=True)
class Row:
    """One searcher at one budget, over a requirement's seeds: share of the best score, and of the grid's cost."""

    quantity: str
    task: str
    requirement: int
    searcher: str
    budget_share: float
    score_share: float
    least: float
    cost_share: float
    answers: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay all searchers, print the table and the verdict, write the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("what", nargs="*", help="record REQUIREMENT NAME [KEY=VALUE …]: a piece of a recording")
    parser.add_argument("--seconds", type=float, default=270.0, help="of a piece of a recording")
    parser.add_argument("--longest", type=float, default=15.0, help="seconds of the longest training recorded")
    parser.add_argument("--workspace", type=Path, default=Path(".sartor-search"), help="where recordings are made")
    parser.add_argument("--recordings", type=Path, default=RECORDINGS, help="folder of grids")
    parser.add_argument("--results", type=Path, default=RECORDINGS)
    parser.add_argument(
        "--smoke", action="store_true", help="one requirement and one seed on a made-up grid: nothing is a result"
    )
    options = parser.parse_args(arguments)
    if options.what:
        return _record(options)
    print((__doc__ or "").split("\n", 1)[0].replace("Claim:", "CLAIM"))
    requirements, seeds = (1, 1) if options.smoke else (REQUIREMENTS, SEEDS)
    grids = sorted(options.recordings.glob("grid-*.json"))
    if options.smoke:
        recordings = {"made up": Recording(made_up())}
    else:
        recordings = {path.stem.removeprefix("grid-"): read_recording(path) for path in grids}
    if not recordings:
        print(
            f"SKIPPED, NOTHING WAS REPLAYED: no grid-*.json in {options.recordings}; record one first", file=sys.stderr
        )
        return 0
    rows = [row for name, recording in recordings.items() for row in contest(name, recording, requirements, seeds)]
    print_table(rows)
    path = options.results / f"search-{len(recordings)}tasks-{requirements}requirements-{seeds}seeds.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)
    print(f"rows in {path}")
    verdict, why = judge(rows)
    print(f"{verdict}: {why}")
    return 0


def _record(options: argparse.Namespace) -> int:
    from _search_recording import record

    verb, requirement, name, *overrides = options.what
    if verb != "record":
        print(f"search.py: {verb!r} is not known; record is", file=sys.stderr)
        return 1
    target = options.recordings / f"grid-{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = record(Path(requirement), options.workspace / name, target, overrides, options.seconds, options.longest)
    print(f"recorded: {target}" if whole else "not whole yet: run the same again")
    return 0 if whole else 9


def contest(name: str, recording: Recording, requirements: int, seeds: int) -> Iterator[Row]:
    """Rows of all searchers over requirements whose limits were drawn so that the boundary matters."""
    whole = recording.exhaustive_s()
    for number, limits in enumerate(drawn(recording, requirements)):
        best = recording.best(limits)
        for share in BUDGETS:
            results = [ours(recording, limits, share * whole, seed) for seed in range(seeds)]
            yield _row(name, number, OURS, share, best, whole, [(held, spent) for _, held, spent in results])
            delivered = [(score, spent) for score, _, spent in results]
            yield _row(name, number, f"{OURS}, confirmed", share, best, whole, delivered)
        for peer in PEERS:
            accounts = [search(peer, recording, limits, max(BUDGETS) * whole, seed) for seed in range(seeds)]
            for share in BUDGETS:
                yield _row(
                    name, number, peer, share, best, whole, [(a.at(share * whole), share * whole) for a in accounts]
                )


def drawn(recording: Recording, count: int) -> list[tuple[Limit, ...]]:
    """Limits on p95 and size at quantiles of what the grid has, the same for the same recording."""
    dice, found = random.Random(0), list[tuple[Limit, ...]]()
    names = [name for name, record in recording.records.items() if not record.notes.get("baseline")]
    latency, size = (sorted(recording.cost(name, metric) for name in names) for metric in ("latency_p95_ms", "size_mb"))
    while len(found) < count:
        limits = (
            Limit("latency_p95_ms", "max", _at(latency, dice.uniform(0.15, 0.8)), "limits.latency_p95_ms.max"),
            Limit("size_mb", "max", _at(size, dice.uniform(0.2, 0.9)), "limits.size_mb.max"),
        )
        if sum(recording.keeps(name, limits) for name in names) >= 2:
            found.append(limits)
    return found


def _at(ordered: Sequence[float], share: float) -> float:
    """Between two values, so that no candidate lies on the limit."""
    place = min(len(ordered) - 2, int(share * len(ordered)))
    return (ordered[place] + ordered[place + 1]) / 2


def ours(recording: Recording, limits: Sequence[Limit], seconds: float, seed: int) -> tuple[float, float, float]:
    """True score of what our planner delivers within a budget, of what it holds (0 for nothing), and what it spent."""
    world = RecordedWorld(recording, seed)
    found = plan(recording, asked(recording, limits, seconds, "balanced"), world)
    chosen = found.decision().chosen
    held = chosen or _best_scored(recording, limits, found)
    score = {
        name: recording.truth(name, world.epochs_of(found.shipping(name).sha256)) for name in (chosen, held) if name
    }
    return score.get(chosen, 0.0), score.get(held, 0.0), world.spent


def _best_scored(recording: Recording, limits: Sequence[Limit], found: Findings) -> str:
    """The best on validation among candidates that keep the limits; empty without one."""
    scored = [
        (m.value, r.candidate.id)
        for r in found.records()
        for m in r.measurements
        if m.metric.name == recording.primary.name and m.split == "validation" and found.shipping(r.candidate.id)
        if r.candidate.id in recording.records and recording.keeps(r.candidate.id, limits)
    ]
    return max(scored)[1] if scored else ""


def _row(
    task: str, number: int, name: str, share: float, best: float, whole: float, results: Sequence[tuple[float, float]]
) -> Row:
    shares = [score / best for score, _ in results]
    return Row(
        "score share", task, number, name, share, round(fmean(shares), 5), round(min(shares), 5),
        round(fmean(spent for _, spent in results) / whole, 5), fmean(score > 0 for score, _ in results),
    )  # fmt: skip


def summary(rows: Sequence[Row]) -> Mapping[str, Mapping[float, tuple[float, float, float]]]:
    """Searcher -> budget -> mean share of the best score, its tenth percentile, mean share of the cost."""
    groups: dict[str, dict[float, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.searcher][row.budget_share].append(row)
    return {
        name: {
            share: (
                fmean(r.score_share for r in found),
                quantiles([r.score_share for r in found], n=10)[0] if len(found) > 1 else found[0].score_share,
                fmean(r.cost_share for r in found),
            )
            for share, found in budgets.items()
        }
        for name, budgets in groups.items()
    }


def print_table(rows: Sequence[Row]) -> None:
    """Means, then the worst tenth, of every searcher at every budget."""
    print(
        f"{'share of the best score at':<26}" + "".join(f"{share:>9.1%}" for share in BUDGETS) + "  of the grid's cost"
    )
    for name, budgets in summary(rows).items():
        print(f"{name:<26}" + "".join(f"{budgets[share][0]:>9.3f}" for share in BUDGETS))
    for name, budgets in summary(rows).items():
        print(
            f"{name + ', worst tenth':<26}"[:34].ljust(34) + "".join(f"{budgets[share][1]:>9.3f}" for share in BUDGETS)
        )


def judge(rows: Sequence[Row]) -> tuple[str, str]:
    """HOLDS when the bar is reached and no peer is better at any budget."""
    means = {name: {share: values[0] for share, values in budgets.items()} for name, budgets in summary(rows).items()}
    mine = means.pop(OURS)
    means.pop(f"{OURS}, confirmed")
    lost = [
        f"{name} at {share:.1%} ({peer[share]:.3f} against {mine[share]:.3f})"
        for name, peer in means.items()
        for share in BUDGETS
        if peer[share] > mine[share]
    ]
    reached = f"{mine[AT]:.3f} of the best score at {AT:.0%} of the cost, {mine[0.05]:.3f} at 5 %"
    if mine[AT] >= BAR and not lost:
        return "HOLDS", reached
    return "FAILS", "; ".join([reached, *(["better: " + ", ".join(lost)] if lost else [])])


if __name__ == "__main__":
    sys.exit(main())
