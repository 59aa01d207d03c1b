"""The training loop. Needs torch; import it inside functions only."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from sartor.codec import from_plain, to_plain
from sartor.cpu_load import read_cpu_times
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ThroughputResult, TrainJob, TrainResult
from sartor.prepared import PreparedData
from sartor.progress import Tell
from sartor.stages.train import _checkpoints
from sartor.stages.train._adapters import merge
from sartor.stages.train._average import recalibrate_norms
from sartor.stages.train._fitting import fit_memory
from sartor.stages.train._machine import NOISY_LOAD, foreign_load, multiply_exactly, sum_dtype
from sartor.stages.train._ranks import ALONE, Ranks
from sartor.stages.train._scoring import Score, Scorer
from sartor.stages.train._steps import Training, window_here
from sartor.stages.train._warm_start import begun
from sartor.stages.train._weights import conditions, keep_weights
from sartor.stages.train.hopeless import is_hopeless
from sartor.types import Epoch

CHECKPOINT_EVERY_S = 20.0
_CHECKPOINT_SHARE = 0.02  # of the time, at most, where checkpoints are large
_TELL_EVERY_S = 1.0
_EVALUATIONS = 8
_PACE_SHARE = 0.05  # of a training's time: before, its pace says little
_PACE_NOISE = 0.02  # a schedule is not planned anew for less
_PROBE_WARMUP_STEPS = 2
_AGREE_EVERY = 8  # steps between two agreements of several ranks
_RECALIBRATION_SAMPLES, _RECALIBRATION_EPOCHS = 4096, 2
WORST = 1e12  # the score of a training that diverged, where lower is better


@dataclass
class Progress:
    """How far a training is; with the tensors of a checkpoint, all it needs to go on."""

    step: int = 0
    seconds: float = 0.0
    losses: float = 0.0  # sum since the last row of the curve
    counted: int = 0
    curve: list[Epoch] = field(default_factory=list)
    highest: float = 0.0  # upper end of the best score's interval
    best: float | None = None  # best score before the end, of the state kept as ``Training.best``, and its epoch
    best_epoch: float = 0.0
    steps: int = 0  # of the whole schedule, as last planned; 0 for as many as asked for
    parts: int = 1  # that each batch is computed in
    window: int = 0  # rows that are shuffled among each other; 0 for all


def fit_by_gradient(
    job: TrainJob, data: PreparedData, workspace: Workspace, scratch: Path, tell: Tell, ranks: Ranks = ALONE
) -> TrainResult | None:
    """Run a training from its newest checkpoint, or from the start, to its end; the result is the leading rank's."""
    if ranks.leads:
        _checkpoints.tidy(scratch)
    found = _checkpoints.read_checkpoint(scratch)
    progress = Progress() if found is None else from_plain(Progress, found[2])
    if found is None:
        (progress.window,) = ranks.told(window_here(job, data))
    training = Training(job, data, workspace, progress.window)
    try:
        if found is not None:
            training.restore(found[1])
            training.steps = progress.steps or training.steps
            training.gradients.parts = progress.parts
        return _fitted(training, progress, scratch, tell, ranks)
    finally:
        training.close()


def _fitted(training: Training, progress: Progress, scratch: Path, tell: Tell, ranks: Ranks) -> TrainResult | None:
    """Go on to the end, and keep what came out of it."""
    job, data, workspace = training.job, training.data, training.workspace
    assert workspace is not None
    memory = fit_memory(training, ranks, scratch, tell)
    scorer = Scorer(job, data, training.device, training.dtype)
    stopped = _run(training, scorer, progress, scratch, tell)
    training.collect()
    if not ranks.leads:
        return None
    score, kept = _settle(training, job, data, progress, stopped)
    if progress.curve:
        progress.curve[-1] = replace(progress.curve[-1], score=score)
    merge(training.average.module)
    weights = keep_weights(training.average.module, workspace, scratch)
    _checkpoints.drop_checkpoints(scratch)
    return TrainResult(
        weights=weights,
        curve=tuple(progress.curve),
        score=score,
        samples_per_s=progress.step * training.feed.batch_size / max(progress.seconds, 1e-9),
        seconds=progress.seconds,
        stopped=stopped,
        conditions={
            **conditions(training.device, training.dtype, job),
            "augment": list(training._augment),
            "kept_epoch": kept,
            "micro_batch": training.gradients.micro_batch,
            "order": training.feed.order,
            "processes": ranks.world,
            **({"cut": True} if training.is_cut else {}),
            **memory,
        },
    )


def _settle(
    training: Training, job: TrainJob, data: PreparedData, progress: Progress, stopped: str
) -> tuple[float, float]:
    """Decide what is kept: the end, or the state that scored better before it.

    Returns:
        Its score in fp32, as it is exported, and its epoch.
    """
    metric = training.task.metrics[0]
    multiply_exactly()
    if stopped == "DIVERGED":
        _return_to_sound(training)
    scorer = Scorer(job, data, training.device, torch.float32)
    score = _recalibrated_score(training, scorer)
    epoch = progress.best_epoch if stopped == "DIVERGED" else progress.step / training.feed.steps_per_epoch
    if progress.best is None or not metric.better(progress.best, score):
        return score, epoch
    end = {name: value.clone() for name, value in training.average.state().items()}
    training.average.load(training.best)
    earlier = _recalibrated_score(training, scorer)
    if metric.better(earlier, score):
        return earlier, progress.best_epoch
    training.average.load(end)
    return score, epoch


def _recalibrated_score(training: Training, scorer: Scorer) -> float:
    if not training.job.recipe.weight_bits:  # there the statistics are those of the network it began with
        recalibrate_norms(training.average.module, _sample_batches(training))
    try:
        return scorer.score(training.average.module).value
    except Unsupported:
        return 0.0 if training.task.metrics[0].direction == "higher" else WORST


def _sample_batches(training: Training) -> Iterator[Tensor]:
    """Training batches, augmented as in training: the weights have met no others.

    With pictures as they are a detector of 205 pictures, which knew those by heart, fell from 0.593 to 0.575.
    """
    steps = _RECALIBRATION_EPOCHS * training.feed.steps_per_epoch
    for step in range(max(1, min(steps, _RECALIBRATION_SAMPLES // training.feed.batch_size))):
        yield training.batch(step)[0]


def _run(training: Training, scorer: Scorer, progress: Progress, scratch: Path, tell: Tell) -> str:
    """Steps, evaluations, checkpoints. Returns why it ended early, or nothing.

    What hangs on a clock, or on the score, the leading rank decides for all.
    """
    ranks = training.gradients.ranks
    asked = max(1, round(training.job.recipe.epochs * training.feed.steps_per_epoch))
    looks = max(2, min(_EVALUATIONS, round(training.job.recipe.epochs)))  # short trainings spend little on looking
    started = time.perf_counter() - progress.seconds
    saved = told = time.perf_counter()
    pause = CHECKPOINT_EVERY_S
    loss_sum = torch.tensor(progress.losses, dtype=sum_dtype(training.device), device=training.device)
    while progress.step < training.steps:
        loss_sum += training.take_step(progress.step)
        progress.parts = training.gradients.parts
        while training.gradients.notes:
            tell(training.gradients.notes.pop(0), progress.step / training.steps)
        progress.step += 1
        progress.counted += 1
        now = time.perf_counter()
        progress.seconds = now - started
        if _is_to_look(progress.step, training.steps, looks):
            progress.losses = float(loss_sum)
            training.collect()
            (stopped,) = ranks.told(_evaluate(training, scorer, progress) if ranks.leads else "")
            training.average.set_aside()
            progress.losses, progress.counted = 0.0, 0
            loss_sum.zero_()
            if stopped:
                return str(stopped)
        at_end = progress.step == training.steps
        if at_end or (progress.step % _AGREE_EVERY == 0 if ranks.world > 1 else now - told >= _TELL_EVERY_S):
            if not at_end:
                planned = planned_steps(progress, training.steps, asked, training.job.seconds)
                (progress.steps,) = ranks.told(planned)
                training.steps = progress.steps
            if at_end or now - told >= _TELL_EVERY_S:
                told = now
                tell(_sentence(training, progress), progress.step / training.steps)
            if not math.isfinite(float(loss_sum)):
                return "DIVERGED"
        if _is_to_save(training, progress, now - saved >= pause):
            before = time.perf_counter()
            progress.losses = float(loss_sum)
            tensors = training.tensors()
            if ranks.leads:
                state = to_plain(progress)
                _checkpoints.write_checkpoint(scratch, progress.step, tensors, state, copied=training.is_cut)
            saved = time.perf_counter()
            pause = max(CHECKPOINT_EVERY_S, (saved - before) / _CHECKPOINT_SHARE)
    return ""


def _is_to_save(training: Training, progress: Progress, due: bool) -> bool:
    """True when a checkpoint is due; where the network is cut, all ranks agree on it now and then, as all take part."""
    ranks = training.gradients.ranks
    if progress.step >= training.steps:
        return False
    if not training.is_cut:
        return due and ranks.leads
    return progress.step % _AGREE_EVERY == 0 and bool(ranks.told(due)[0])


def _is_to_look(step: int, steps: int, looks: int) -> bool:
    """True at every ``looks``-th part of the schedule, its end included."""
    return step in {round(steps * part / looks) for part in range(1, looks + 1)}


def planned_steps(progress: Progress, planned: int, asked: int, seconds: float) -> int:
    """Steps that end in time at the pace so far: fewer than asked for where that is too slow, at least one more.

    The learning rate follows the share of the schedule done, so a shorter schedule still ends at zero.
    """
    if not seconds or progress.step == 0 or progress.seconds < _PACE_SHARE * seconds:
        return planned
    in_time = progress.step + int((seconds - progress.seconds) * progress.step / max(progress.seconds, 1e-9))
    wanted = max(progress.step + 1, min(asked, in_time))
    return wanted if abs(wanted - planned) > _PACE_NOISE * planned or wanted == asked else planned


def _evaluate(training: Training, scorer: Scorer, progress: Progress) -> str:
    """Score the average, add a row to the curve; say whether to go on."""
    loss = progress.losses / max(1, progress.counted)
    epoch = progress.step / training.feed.steps_per_epoch
    if not math.isfinite(loss):
        return "DIVERGED"
    try:
        score = scorer.score(training.average.module)
    except Unsupported as refusal:
        return refusal.code
    progress.curve.append(Epoch(epoch, progress.seconds, loss, score.value, training.learning_rate))
    progress.highest = max(progress.highest, score.high)
    metric = training.task.metrics[0]
    if progress.step < training.steps and (progress.best is None or metric.better(score.value, progress.best)):
        progress.best, progress.best_epoch = score.value, epoch
        training.keep_best()
    return "FLOOR_UNREACHABLE" if _hopeless(training, progress, score) else ""


def _hopeless(training: Training, progress: Progress, score: Score) -> bool:
    metric, share = training.task.metrics[0], progress.step / training.steps
    if not (metric.bounded and metric.direction == "higher") or share >= 1:
        return False
    return is_hopeless(max(progress.highest, score.high), share, training.job.floor)


def _return_to_sound(training: Training) -> None:
    """After a divergence keep the best weights there were, or those it began with."""
    if training.best:
        training.average.load(training.best)
        return
    torch.manual_seed(training.job.seed)
    fresh = begun(training.job, training.data, training.workspace)
    training.average.module.load_state_dict(fresh.state_dict())


def _sentence(training: Training, progress: Progress) -> str:
    rate = progress.step / max(progress.seconds, 1e-9)
    left = (training.steps - progress.step) / rate
    scored = [row.score for row in progress.curve if row.score is not None]
    title = training.task.metrics[0].title
    score = f"{title} {scored[-1]:.3f}, " if scored else ""
    epoch = progress.step / training.feed.steps_per_epoch
    return (
        f"{training.job.network.id}: epoch {epoch:.1f} of {training.steps / training.feed.steps_per_epoch:.1f}, {score}"
        f"{rate * training.feed.batch_size:,.0f} samples/s, {int(left) // 60}:{int(left) % 60:02d} left"
    )


def probe(job: TrainJob, data: PreparedData, seconds: float, tell: Tell, ranks: Ranks = ALONE) -> ThroughputResult:
    """Real steps on real batches for about so many seconds, then a part of validation."""
    tell(f"{job.network.id}: trying how fast it trains")
    training = Training(job, data)
    try:
        return _probed(training, seconds, tell, ranks)
    finally:
        training.close()


def _probed(training: Training, seconds: float, tell: Tell, ranks: Ranks) -> ThroughputResult:
    fit_memory(training, ranks, None, tell)
    for step in range(_PROBE_WARMUP_STEPS):
        training.take_step(step)
    before = read_cpu_times()
    started, steps, on = time.perf_counter(), 0, True
    while on:
        float(training.take_step(_PROBE_WARMUP_STEPS + steps))
        steps += 1
        (on,) = ranks.told(time.perf_counter() - started < seconds)
    rate = steps * training.feed.batch_size / (time.perf_counter() - started)
    load = foreign_load(before)
    training.collect()
    if training.is_cut and not ranks.leads:
        return ThroughputResult(rate, 0.0, load, load > NOISY_LOAD)  # nobody asks it
    scorer = Scorer(training.job, training.data, training.device, training.dtype, limit=2 * training.feed.batch_size)
    return ThroughputResult(rate, scorer.score(training.average.module).samples_per_s, load, load > NOISY_LOAD)
