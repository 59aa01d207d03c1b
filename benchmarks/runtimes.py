"""Claim: the way to run a model that Sartor picks is within 2 % of the best of all in 95 of 100 cases.

Networks with random weights, in batches of 1, 8 and 32, in every way: ONNX Runtime, OpenVINO, ONNX Runtime with
OpenVINO, torch eager and torch.compile, fp32 and int8 (bf16 where the processor has it), on one thread and on all that
are allowed. Sartor picks as a run does: a short look at each of its own ways in a fresh process, threads varied for the
fastest, led by what the networks before showed. Then all ways are measured at length, in turn, in other processes.
*Regret* is how much longer the pick takes than the best way; below what two processes of one way differ (at most 5 %,
more noise excuses nothing) it is a tie.
Each case is asked twice: where only fp32 will do, and where any precision will.

    python benchmarks/runtimes.py              # makes the files, measures what is not measured yet, writes the table
    python benchmarks/runtimes.py --make       # the files, and what torch.compile compiles; without it that is left out
    python benchmarks/runtimes.py --minutes 4  # begins no further case after 4 minutes; call again to go on
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from _protocol import RESULTS, conditions_line, slug, surroundings, write_table
from _runtime_models import MODELS, SMOKE
from _runtime_ways import (
    COMPILED,
    EAGER,
    KEPT,
    OPENVINO_BUILD,
    Case,
    Processes,
    Refused,
    Way,
    Worker,
    make_files,
    ways,
)

from sartor.catalog.devices.local import identify
from sartor.catalog.planners.parts.schedule import EFFORTS
from sartor.catalog.planners.parts.threads import CLOSE, MOST_WAYS
from sartor.cpu_load import load_between, read_cpu_times
from sartor.levels import level_of
from sartor.stages.measure.summary import calls_to_bound
from sartor.thread_counts import ThreadFact, best_of, facts_of, likely, next_count
from sartor.thread_counts import Way as Deployment

BATCHES = (1, 8, 32)
ROUNDS, TURN_S = 4, 0.08
SLOW_MS, SLOW_ROUNDS = 400.0, 3
PROBE_S = EFFORTS["balanced"].probe_seconds
QUIET_S = 0.3
MOST_FLOOR = 0.05  # noise beyond this excuses nothing
BAR, SHARE = 1.02, 0.95
OWN = ("onnxruntime", "openvino")  # what is installed together, so what a run chooses among
QUESTIONS = ("fp32", "any")
Say = Callable[[str], None]
Found = Mapping[str, Any]


# ------------------------------------------------------------------------------------------------- choosing


def choose(
    case: Case, possible: Sequence[Way], most: int, probe: Callable[[Way], float], facts: Sequence[ThreadFact]
) -> tuple[dict[str, Way], dict[Way, float]]:
    """Sartor's pick for each question, and what it saw: every way at the most threads, then fewer for the fastest."""
    seen = {way: probe(way) for way in possible if way.runtime in OWN and way.threads == most}
    picked: dict[str, Way] = {}
    for question in QUESTIONS:
        allowed = sorted((way for way in seen if way.threads == most and _allowed(way, question)), key=seen.__getitem__)
        close = [way for way in allowed if seen[way] <= CLOSE * seen[allowed[0]]][:MOST_WAYS]
        for way in close:
            deployment = Deployment(MODELS[case.model].task, way.runtime, way.precision, case.batch)
            hint = likely(facts, deployment, seen[way], most)
            while threads := next_count(_by_threads(seen, way), most, hint):
                fewer = Way(way.runtime, way.precision, threads)
                seen[fewer] = probe(fewer)
        best = [_at_best_threads(seen, way) for way in allowed]
        picked[question] = min(best, key=lambda way: (seen[way], way.name))
    return picked, seen


def _allowed(way: Way, question: str) -> bool:
    return question == "any" or way.precision == "fp32"


def _by_threads(seen: Mapping[Way, float], like: Way) -> dict[int, float]:
    return {w.threads: ms for w, ms in seen.items() if (w.runtime, w.precision) == (like.runtime, like.precision)}


def _at_best_threads(seen: Mapping[Way, float], like: Way) -> Way:
    return Way(like.runtime, like.precision, best_of(_by_threads(seen, like)))


def facts_from(done: Iterable[Found]) -> tuple[ThreadFact, ...]:
    """What the cases before showed of threads, as a run learns it from its networks."""
    measured = []
    for found in done:
        for name, ms in found["probed"].items():
            runtime, precision, threads = name.split()
            way = Deployment(MODELS[found["model"]].task, runtime, precision, found["batch"])
            measured.append((found["model"], way, int(threads), ms))
    return facts_of(measured)


# ------------------------------------------------------------------------------------------------- measuring


def record(case: Case, possible: Sequence[Way], most: int, processes: Processes, facts: Sequence[ThreadFact]) -> Found:
    """Everything about one case: the pick, made first and blind, then the long measurement of all ways."""
    before = _others()
    least, enough = (calls_to_bound(q, 0.95) for q in (0.95, 0.99))

    def probe(way: Way) -> float:
        try:
            worker = processes.start(case, way)
        except Refused:
            return math.inf
        ms = float(worker.ask("probe", PROBE_S, least, enough))
        worker.end()
        return ms

    picked, seen = choose(case, possible, most, probe, facts)
    workers, refused = _start_all([*possible, *sorted(set(picked.values()), key=lambda w: w.name)], case, processes)
    turns, answers = _turns(workers)
    reference = next(answers[key] for key in answers if key.startswith(EAGER))
    return {
        "model": case.model,
        "batch": case.batch,
        "picked": {question: way.name for question, way in picked.items()},
        "probed": {way.name: ms for way, ms in seen.items() if math.isfinite(ms)},
        "turns": turns,
        "refused": refused,
        "apart": {key: _apart(answer, reference) for key, answer in answers.items()},
        "foreign_load": max(before, _others()),
        "date": time.strftime("%Y-%m-%dT%H:%M:%S"),
        "level": level_of(frozenset(identify().instruction_sets)),
    }


def _others() -> float:
    """Share of the cores that others use while nothing of ours runs."""
    before = read_cpu_times()
    time.sleep(QUIET_S)
    return load_between(before, read_cpu_times(), identify().cores).share


def _start_all(wanted: Sequence[Way], case: Case, processes: Processes) -> tuple[dict[str, Worker], dict[str, str]]:
    """A process for each way; a way that is there twice gets a second one, whose name ends with ``again``."""
    workers: dict[str, Worker] = {}
    refused: dict[str, str] = {}
    for way in wanted:
        name = f"{way.name} again" if way.name in workers else way.name
        if way.runtime == COMPILED and not (processes.folder / case.name / "compiled").is_file():
            refused[way.name] = "it was not compiled beforehand (--make)"
            continue
        try:
            workers[name] = processes.start(case, way)
        except Refused as why:
            refused[way.name] = str(why)
    return workers, refused


def _turns(workers: Mapping[str, Worker]) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Medians of each process by turn, every process once a round, the order turned by one each time."""
    answers = {name: worker.ask("answer") for name, worker in workers.items()}
    first = {name: worker.ask("turn", 0.0) for name, worker in workers.items()}
    names, turns = list(workers), {name: [] for name in workers}  # type: ignore[var-annotated]
    for number in range(SLOW_ROUNDS if max(first.values()) > SLOW_MS else ROUNDS):
        shift = number * max(1, len(names) // ROUNDS) % len(names)
        for name in names[shift:] + names[:shift]:
            turns[name].append(workers[name].ask("turn", TURN_S))
    for worker in workers.values():
        worker.end()
    return turns, answers


def _apart(answer: Any, reference: Any) -> float:
    """Norm of the difference as a share of the reference's."""
    if answer.shape != reference.shape:
        return math.nan
    return float(np.linalg.norm(answer - reference) / max(float(np.linalg.norm(reference)), 1e-12))


# ------------------------------------------------------------------------------------------------- judging


def judge(found: Found, question: str) -> dict[str, Any]:
    """The pick against the best way, by the turns of each: a row of the table."""
    turns = {k: v for k, v in found["turns"].items() if not k.endswith("again")}
    allowed = [k for k in turns if question == "any" or k.split()[1] == "fp32"]
    ms = {k: median(turns[k]) for k in allowed}
    pick, best = found["picked"][question], min(allowed, key=ms.__getitem__)
    eager = min((k for k in allowed if k.startswith(f"{EAGER} ")), key=ms.__getitem__)
    ratios = [a / b for a, b in zip(turns[pick], turns[best], strict=True)]
    again = found["turns"].get(f"{pick} again", turns[pick])
    floor = abs(math.log(median(again) / ms[pick]))
    regret = ms[pick] / ms[best]
    return {
        "question": question, "pick": pick, "pick_ms": ms[pick], "best": best, "best_ms": ms[best], "regret": regret,
        "regret_low": min(ratios), "regret_high": max(ratios), "noise_floor": math.exp(floor) - 1,
        "within": regret <= BAR or math.log(regret) <= min(floor, MOST_FLOOR),
        "eager_ms": ms[eager], "over_eager": ms[eager] / ms[pick], "slower_than_eager": ms[pick] > BAR * ms[eager],
    }  # fmt: skip


def rows_of(done: Sequence[Found]) -> list[dict[str, Any]]:
    """One row per case and question, then one per case and way."""
    rows = []
    for found in done:
        like = {"model": found["model"], "kind": MODELS[found["model"]].kind, "batch": found["batch"]}
        busy = {
            "foreign_load": round(found["foreign_load"], 4),
            "level": found["level"],
            "date": found["date"],
        }
        rows += [{**like, **judge(found, question), **busy} for question in QUESTIONS]
        for name, turns in found["turns"].items():
            seen = {"way": name, "ms": median(turns), "low": min(turns), "high": max(turns)}
            extra = {"probe_ms": found["probed"].get(name, ""), "apart_from_eager": found["apart"].get(name, "")}
            rows.append({**like, **seen, **extra, **busy})
        rows += [{**like, "way": name, "refused": why, **busy} for name, why in found["refused"].items()]
    return rows


def report(done: Sequence[Found]) -> str:
    """The table and the verdict."""
    lines, judged = (
        [f"{'case':<20} {'question':<9} {'pick':<22} {'best':<28} {'regret':>7} {'A/A':>6} {'× eager':>8}"],
        [],
    )
    for found in done:
        for question in QUESTIONS:
            row = judge(found, question)
            judged.append((found, row))
            lines.append(
                f"{found['model'] + ' × ' + str(found['batch']):<20} {question:<9} {row['pick']:<22} {row['best']:<28} "
                f"{row['regret'] - 1:>6.1%} {row['noise_floor']:>6.1%} {row['over_eager']:>8.2f}"
                f"{'' if row['within'] else '  *'}"
            )
    within = sum(row["within"] for _, row in judged)
    slower = sum(row["slower_than_eager"] for _, row in judged)
    for kind in sorted({MODELS[found["model"]].kind for found in done}):
        for question in QUESTIONS:
            ratios = [
                r["over_eager"] for f, r in judged if MODELS[f["model"]].kind == kind and r["question"] == question
            ]
            lines.append(
                f"over eager, {kind}, {question}: {median(ratios):.2f} × ({min(ratios):.2f} … {max(ratios):.2f})"
            )
    holds = within >= SHARE * len(judged) and not slower
    lines.append(
        f"{'HOLDS ' if holds else 'FAILS '}  within {BAR - 1:.0%} of the best or a tie in {within} of {len(judged)}, "
        f"slower than torch eager in {slower}"
    )
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------- doing


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked; 0 when all cases are there, 3 when some are left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", action="store_true", help="make the files, measure nothing")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no further case after so long")
    parser.add_argument("--so-far", action="store_true", help="measure nothing more, write the cases that are there")
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--batches", nargs="*", type=int, default=list(BATCHES))
    parser.add_argument("--work", type=Path, default=KEPT, help="where files and measurements lie")
    parser.add_argument("--results", type=Path, default=RESULTS / "runtimes")
    parser.add_argument("--smoke", action="store_true", help="two small networks, one thread; no result")
    asked = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(f"… {line}", flush=True)

    with TemporaryDirectory() as passing:
        if asked.smoke:
            asked.models, asked.work = list(SMOKE), Path(passing)
        return _work(asked, say)


def _work(asked: argparse.Namespace, say: Say) -> int:
    print(f"CLAIM {__doc__.splitlines()[0].removeprefix('Claim: ')}")
    most = 1 if asked.smoke else identify().cores
    foreign = not asked.smoke and _other_build(say)
    cases = [Case(model, batch) for batch in (BATCHES[:1] if asked.smoke else asked.batches) for model in asked.models]
    possible = [w for w in ways(most, foreign=foreign) if not (asked.smoke and w.runtime == COMPILED)]
    began = time.monotonic()
    with Processes(asked.work) as processes:
        if asked.make:
            make_files(cases, asked.work, say)
            _compile(cases, possible, processes, asked.work, say)
            return 0
        for case in cases:
            kept = asked.work / f"{case.name}.json"
            if kept.is_file() or asked.so_far or time.monotonic() - began > 60 * asked.minutes:
                continue
            make_files([case], asked.work, say)
            say(f"measuring {case.name}")
            known = _done(cases, asked.work)
            there = [w for w in possible if w.precision != "int8" or (asked.work / case.name / "int8.onnx").is_file()]
            kept.write_text(json.dumps(record(case, there, most, processes, facts_from(known))), encoding="utf-8")
    done = _done(cases, asked.work)
    if not done or (len(done) < len(cases) and not asked.so_far):
        print(f"{len(done)} of {len(cases)} cases are measured; call again to go on")
        return 3
    print(f"MACHINE {conditions_line()}")
    print(report(done))
    stem = f"runtimes-{len(done)}cases-{most}threads-{slug(identify().name)}"
    print(f"WRITTEN {_write(asked.results / f'{stem}.csv', rows_of(done))}")
    return 0


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    everything = {name: value for name, value in surroundings().items() if name not in ("date", "load_1m")}
    return write_table(path, rows, everything)


def _done(cases: Sequence[Case], folder: Path) -> list[Found]:
    files = (folder / f"{case.name}.json" for case in cases)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def _other_build(say: Say) -> bool:
    try:
        OPENVINO_BUILD.make(say)
    except OSError as error:
        say(f"ONNX Runtime with OpenVINO is left out: {error}")
        return False
    return True


def _compile(cases: Sequence[Case], possible: Sequence[Way], processes: Processes, work: Path, say: Say) -> None:
    """Let torch.compile fill its cache, so that measuring does not wait for it."""
    way = next(w for w in possible if w.runtime == COMPILED)
    for case in cases:
        mark = work / case.name / "compiled"
        if mark.is_file():
            continue
        say(f"compiling {case.name}")
        try:
            processes.start(case, way).end()
        except Refused as why:
            say(f"{case.name}: {why}")
        mark.touch()


if __name__ == "__main__":
    sys.exit(main())
