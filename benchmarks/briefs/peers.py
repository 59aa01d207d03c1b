"""The same requirements put to peers that take the limits as a filter, and one referee for what they deliver.

A peer gets train and validation of the run, the limits and the budget; it delivers a model or names limits. What it
delivers answers the test rows and is timed in two new processes; a limit is judged by the interval, as everywhere here.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tasks"))

from _answering import METRICS, Answerer, Lost, hand_over, learn, outputs_of
from _answering import _in_process as in_process
from _child import write_bytes
from _environments import OPTUNA, Environment

from briefs.course import Course, Outcome
from briefs.draw import Brief
from sartor import registry
from sartor.evidence import Workspace
from sartor.prepared import open_data
from sartor.run import load_run
from sartor.stages.measure.quality import worst_class

CONFIDENCE = 0.95
INPUTS, TIMED_S, TURNS = 200, 1.0, 2


class Peer(NamedTuple):
    """A side in ``tasks/peers``, the tasks that it can do, and its environment."""

    name: str
    file: str
    side: str
    tasks: tuple[str, ...]
    environment: Environment


PEERS = (
    Peer(
        "Optuna + ONNX Runtime", "with_optuna", "Optuna",
        ("image-classification", "text-classification", "tabular-classification", "tabular-regression"), OPTUNA,
    ),
)  # fmt: skip


def put(course: Course, brief: Brief, peer: Peer) -> Outcome:
    """One requirement put to a peer, and what it delivers re-measured at once, in new processes."""
    place = course.place(brief)
    scratch = place / f"peer-{peer.file}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    run = course.kept(brief, "run")
    assert run is not None
    file = load_run(place / run["run"])
    data, task = open_data(file.card.fingerprint, Workspace(place / ".sartor")), registry.get("tasks", brief.task)
    parts = {name: data.split(name) for name in ("train", "validation", "test")}
    raws = {name: [part.raw(number) for number in range(len(part))] for name, part in parts.items()}
    facts = {"labels": list(data.card.labels), "truth": task.truth, "limits": brief.document["limits"]}
    facts |= {"media": task.media, "unspaced": brief.subject.endswith("-zh")}
    files = hand_over(
        scratch / "files", {name: (raws[name], parts[name].truths) for name in ("train", "validation")}, facts
    )
    side = Answerer(peer.name, peer.file, peer.side, scratch / "model", peer.environment.python)
    threads = int(brief.document["target"]["threads"])
    started = time.monotonic()
    try:
        learn(side, files, float(brief.seconds), threads)
        told = json.loads(side.model.with_suffix(".json").read_text(encoding="utf-8"))
        outcome: Outcome = {"wall_s": time.monotonic() - started, "delivered": told["delivered"]}
        outcome |= {"binding": told["binding"], "trials": told["trials"]}
        if told["delivered"]:
            write_bytes(scratch / "test.npz", raws["test"])
            write_bytes(scratch / "few.npz", raws["test"][:INPUTS])
            outputs = outputs_of(side, scratch / "test.npz", scratch, threads)
            scores = task.score(outputs, parts["test"].truths, tuple(data.card.labels), CONFIDENCE)
            outcome["limits"] = _limits(brief, scores, parts["test"].truths, side, scratch / "few.npz", threads)
    except Lost as error:
        outcome = {"wall_s": time.monotonic() - started, "delivered": False, "binding": [], "crash": str(error)}
    return course.keep(brief, f"peer-{peer.file}", outcome)


def _limits(brief: Brief, scores: Any, truths: Any, side: Answerer, few: Path, threads: int) -> list[dict[str, Any]]:
    """Each limit with its verdict: met or missed when the whole interval is."""
    request = {"do": "time", "raws": str(few), "seconds": TIMED_S}
    turns = [in_process(side, request, threads, 120) for _ in range(TURNS)]
    found = []
    for metric, bounds in brief.document["limits"].items():
        for bound, asked in bounds.items():
            if bound == "per_class_min":
                _, low, high = worst_class(scores.correct, np.asarray(truths), CONFIDENCE)
            elif metric == "size_mb":
                low = high = side.size_mb
            elif metric == "throughput_per_s":
                low, high = sorted(1e3 / float(turn["latency_p50_ms"]) for turn in turns)
            elif metric in METRICS:
                low, high = sorted(float(turn[metric]) for turn in turns)
            else:
                _, low, high = scores.values[metric]
            good, bad = (high <= asked, low > asked) if bound == "max" else (low >= asked, high < asked)
            verdict = "met" if good else "missed" if bad else "inconclusive"
            found.append({"limit": f"limits.{metric}.{bound}", "outcome": verdict, "low": low, "high": high})
    return found


def judged(brief: Brief, outcome: Outcome) -> tuple[str, str]:
    """The verdict, in the words of ``course.judged``."""
    if "crash" in outcome:
        return "crash", outcome["crash"]
    if outcome["delivered"]:
        missed = [one["limit"] for one in outcome["limits"] if one["outcome"] == "missed"]
        if brief.binding or missed:
            return "wrong delivery", f"missed: {', '.join(missed) or 'it is impossible'}"
        open_ones = [one["limit"] for one in outcome["limits"] if one["outcome"] != "met"]
        return ("unproven", ", ".join(open_ones)) if open_ones else ("delivered", f"{outcome['trials']} trials")
    named = set(outcome["binding"])
    if not brief.binding:
        return "wrong refusal", f"{', '.join(sorted(named)) or 'nothing'} named"
    right = bool(named) and named <= set(brief.binding)
    return ("refused" if right else "wrong binding"), ", ".join(sorted(named)) or "nothing named"


def able(peer: Peer, briefs: Sequence[Brief]) -> list[Brief]:
    """Requirements of tasks that a peer can do."""
    return [brief for brief in briefs if brief.task in peer.tasks]
