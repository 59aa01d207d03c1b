"""What other runs of a workspace have done on the same data: trainings that serve again, looks at the test split."""

from __future__ import annotations

from sartor.codec import from_plain
from sartor.evidence import Evidence
from sartor.jobs import TrainJob, TrainResult


def finished_trainings(
    evidence: Evidence, data: str, seed: int, run: str, started: float
) -> list[tuple[TrainJob, TrainResult]]:
    """Trainings on the same data that other runs had finished when this run was first begun, oldest first.

    This run's own are left out: continued, it must plan as it did, and comes to them again.
    """
    return [
        (from_plain(TrainJob, entry.job), from_plain(TrainResult, entry.result))
        for entry in evidence.of_stage("train")
        if not entry.refusal
        and entry.run != run
        and entry.created < started
        and entry.job["data"] == data
        and entry.job["seed"] == seed
    ]


def looks_of_others(evidence: Evidence, data: str, run: str, started: float) -> tuple[int, int]:
    """Files that other runs had judged by the test split when this one was first begun, and how many those runs are."""
    looks = [
        entry
        for entry in evidence.of_stage("evaluate")
        if not entry.refusal
        and entry.run != run
        and entry.created < started
        and entry.job["data"] == data
        and entry.job["split"] == "test"
    ]
    return len({entry.job["artifact"] for entry in looks}), len({entry.run for entry in looks})
