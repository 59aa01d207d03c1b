"""How long the next actions will take here, told from those that this run has done. Seconds throughout."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sartor import registry
from sartor.catalog.contracts import Action, Outcome, Situation
from sartor.levels import levels_within, on_bytes
from sartor.types import Candidate, Record

PROCESS_S = 1.5  # a process that measures starts, loads and ends, until one was seen
MAKING_S = 2.0  # an export or a compression, until one was seen
SCORING_S = 1.2  # a score takes so much beyond its calls and start, until one was seen
TRAINING_S = 3.0  # a training starts, loads and scores at its end, until one was seen
WINDOWS = 1.5  # a timing takes so many times its seconds: warm-up, windows
COMPARED_S = 0.8  # timed window of each process of a comparison
COMPARED = 4  # processes of a comparison
DELIVERY_S = 2.0  # report, package and the command's own start
MOST_SAMPLES = 2000  # scored on each further level of instruction sets
LEAST_S = 0.05  # nothing takes less
RECENT = 5  # the last so many of a kind speak for the next


class Forecast:
    """Seconds that actions will take. It hears of every outcome; evidence of other runs costs nothing and says nothing.

    What is told depends on recorded seconds alone, never on a clock: a continued run forecasts alike.
    """

    def __init__(self, situation: Situation) -> None:
        self.now = situation
        self._starts: dict[str, list[float]] = defaultdict(list)  # runtime -> process starts, recent last
        self._made: dict[str, list[float]] = defaultdict(list)  # what is made, of which network -> seconds
        self._answering: list[float] = []  # per sample, beyond what its call takes
        self._training: list[float] = []  # of a training: all but its steps
        self._timed = self._noisy = 0
        self._told: tuple[Record, ...] = ()  # what the latencies below were read from
        self._calls: dict[str, float] = {}  # candidate -> milliseconds

    # ------------------------------------------------------------------------------------------ what was seen

    def note(self, action: Action, outcome: Outcome) -> None:
        """Take in what an action of this run took."""
        if outcome.seconds <= 0 or outcome.refusal is not None:
            return
        match action.stage:
            case "measure":
                noisy = any(m.noisy for m in outcome.result.measurements)
                self._timed, self._noisy = self._timed + 1, self._noisy + noisy
                processes = action.job.processes + noisy
                start = outcome.seconds / processes - WINDOWS * action.job.seconds
                self._starts[action.job.pipeline.runtime].append(max(0.1, start))
            case "evaluate" if len(action.job.levels) < 2:
                samples = self._samples(action.job.split)
                beyond = (
                    outcome.seconds - self.start(action.job.pipeline.runtime) - samples * self._call_s(action.subject)
                )
                self._answering.append(max(0.0, beyond) / samples)
            case "export" | "compress":
                what = action.job.compressor if action.stage == "compress" else action.job.format
                self._made[what].append(outcome.seconds)
                self._made[f"{what} {action.subject}"].append(outcome.seconds)
            case "train" if outcome.seconds >= outcome.result.seconds:  # one that ran beside others cost less
                self._training.append(max(0.0, outcome.seconds - outcome.result.seconds))

    def _samples(self, split: str) -> int:
        return max(1, self.now.card.splits[split].samples) if split in self.now.card.splits else 1

    def _call_s(self, candidate: str) -> float:
        """One sample's share of a call, as measured; 0 where it was not."""
        records = self.now.records()
        if records is not self._told:
            self._told = records
            self._calls = {
                r.candidate.id: m.value for r in records for m in r.measurements if m.metric.name == "latency_p50_ms"
            }
        return self._calls.get(candidate, 0.0) / 1000 / max(1, self.now.requirement.target.batch)

    # ------------------------------------------------------------------------------------------ what is to come

    def start(self, runtime: str) -> float:
        """A process of a runtime, but for what it is asked to do; of any runtime where this one was not seen."""
        seen = self._starts.get(runtime) or [s for starts in self._starts.values() for s in starts]
        return _likely(_warm(seen, PROCESS_S), PROCESS_S)

    def training(self) -> float:
        """All of a training but its steps: start, loading, scoring at its end."""
        return max(LEAST_S, _likely(_warm(self._training, TRAINING_S), TRAINING_S))

    def making(self, candidate: Candidate, weights: bool = True) -> float:
        """The file of a candidate: export, and compression where it has one."""
        seconds = self._make("onnx", candidate)
        return seconds + (self._make(candidate.compressor, candidate) if candidate.compressor != "none" else 0.0)

    def _make(self, what: str, candidate: Candidate) -> float:
        own = self._made[f"{what} {candidate.network.id}"]
        seen = _warm(self._made[what], MAKING_S)
        return min(own[-1], max(seen)) if own and len(self._made[what]) > 1 else _likely(seen, MAKING_S)

    def evaluating(self, candidate: Candidate, split: str) -> float:
        """A candidate's score on a split."""
        start, samples = self.start(candidate.runtime), self._samples(split)
        unseen = SCORING_S * max(1.0, start / PROCESS_S) / samples  # longer where processes start slowly
        call = self._call_s(candidate.id) + _likely(self._answering, unseen)
        return start + samples * call + self._levels(candidate, split) * (start + min(samples, MOST_SAMPLES) * call)

    def _levels(self, candidate: Candidate, split: str) -> int:
        """Levels of instruction sets that an int8 file is scored on beside the processor's own."""
        asked = split == "test" or self.now.requirement.target.levels
        if not asked or not on_bytes(candidate.precision):
            return 0
        held = hasattr(registry.get("runtimes", candidate.runtime), "held_to")
        return max(0, len(levels_within(self.now.device.instruction_sets)) - 1) if held else 0

    def timing(self, candidate: Candidate, seconds: float, processes: int) -> float:
        """Timing in so many processes, one more as often as the machine was noisy."""
        share = self._noisy / self._timed if self._timed else 0.0
        return (processes + share) * (self.start(candidate.runtime) + WINDOWS * seconds)

    def comparing(self, ours: Candidate, runtime: str) -> float:
        """A comparison with another file in a runtime, done twice as often as the machine was noisy."""
        share = self._noisy / self._timed if self._timed else 0.0
        pair = self.start(ours.runtime) + self.start(runtime) + 2 * WINDOWS * COMPARED_S
        return (1 + share) * COMPARED / 2 * pair

    def deploying(self, records: Iterable[Record]) -> float:
        """Trained files of a network's candidates, parents included, each made once and scored on validation."""
        seconds, made = 0.0, set[str]()
        for record in records:
            candidate = record.candidate
            for what in ("onnx", candidate.compressor):
                if what not in (*made, "none"):
                    made.add(what)
                    seconds += self._make(what, candidate)
            seconds += self.evaluating(candidate, "validation")
        return seconds

    def confirming(self, record: Record, seconds: float, processes: int) -> float:
        """A finalist: the test split, trained timing, and the comparison with its parent."""
        candidate = record.candidate
        compared = self.comparing(candidate, candidate.runtime) if record.parent else 0.0
        return self.evaluating(candidate, "test") + self.timing(candidate, seconds, processes) + compared

    def delivering(self) -> float:
        """What a run does after its last action: as long as a process takes to start, where the machine is slow."""
        return max(DELIVERY_S, self.start(""))


def _warm(seen: Sequence[float], usual: float) -> list[float]:
    """What was seen without the first, which loads what the others find loaded; alone it says no more than usual."""
    return list(seen[1:]) or [min(value, usual) for value in seen]


def _likely(seen: Sequence[float], otherwise: float) -> float:
    """What the next will hardly exceed: the mean of the recent ones and their deviation."""
    recent = seen[-RECENT:]
    if not recent:
        return otherwise
    mean = sum(recent) / len(recent)
    return mean + math.sqrt(sum((value - mean) ** 2 for value in recent) / len(recent))
