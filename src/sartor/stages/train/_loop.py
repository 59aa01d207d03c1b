"""The training loop. Needs torch; import it inside functions only."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from sartor import registry
from sartor.blocks import revive_dead_filters
from sartor.catalog.contracts import ModelFamily, Task
from sartor.codec import from_plain, to_plain
from sartor.cpu_load import read_cpu_times
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import ThroughputResult, TrainJob, TrainResult
from sartor.prepared import PreparedData
from sartor.progress import Tell
from sartor.stages.train import _checkpoints
from sartor.stages.train._average import Average, recalibrate_norms
from sartor.stages.train._distill import SoftLabels
from sartor.stages.train._feed import Feed, channels_last, scaled
from sartor.stages.train._machine import NOISY_LOAD, foreign_load, settle, training_device, training_dtype
from sartor.stages.train._optimizers import make_optimizers, rate_share, set_rate
from sartor.stages.train._scoring import Score, Scorer, casting
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


class Training:
    """One network with its data, optimizers and average, able to take any numbered step."""

    def __init__(self, job: TrainJob, data: PreparedData, workspace: Workspace | None = None) -> None:
        settle(job.threads)
        self.job, self.data, self.workspace = job, data, workspace
        self.device = training_device()
        self.task: Task = registry.get("tasks", job.task)
        family: ModelFamily = registry.get("models", job.network.model)
        self.dtype = training_dtype(self.device) if getattr(family, "autocast", True) else torch.float32
        self._loss = getattr(family, "loss", self.task.loss)
        train, size, encoding = data.split("train"), job.network.input_size, job.network.encoding
        self._statistics = data.statistics(size, encoding)
        auto = self.task.augmentations(data.card)
        self._augment = tuple(x for name in job.recipe.augment for x in (auto if name == "auto" else (name,)))
        torch.manual_seed(job.seed)
        samples, targets = train.prepared(size, encoding), train.targets(size, encoding)
        self.feed = Feed(samples, targets, job.recipe.batch_size, job.seed, self.device)
        module = begun(job, data, workspace)
        self.module: nn.Module = module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if job.recipe.start is None:
            revive_dead_filters(self.module, self.task.normalise(self.feed.batch(0)[0], self._statistics))
        self.average = Average(self.module, job.recipe.ema_decay)
        self.optimizers = make_optimizers(self.module, job.recipe, self.dtype)
        self.steps = max(1, round(job.recipe.epochs * self.feed.steps_per_epoch))
        self.learning_rate = 0.0
        self._soft = SoftLabels(job, data, workspace, self.device) if job.recipe.teacher and workspace else None
        self.best: dict[str, Tensor] = {}  # state of the average where it scored best so far; empty before

    def take_step(self, step: int) -> Tensor:
        """One step of the optimizers and of the average; the batch's mean loss."""
        recipe = self.job.recipe
        self.module.train()
        torch.manual_seed(self.feed.layer_seed(step))
        batch, targets = self.batch(step)
        self.learning_rate = set_rate(self.optimizers, rate_share(step, self.steps, recipe.warmup_share))
        with casting(self.device, self.dtype):
            outputs = self.module(batch)
        loss: Tensor = self._loss(tree_map(_in_fp32, outputs), targets, recipe.label_smoothing)
        if self._soft is not None:
            loss = self._soft.mixed(loss, outputs.float(), batch)
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip:
            nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.average.update(self.module, step)
        return loss.detach()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """What a step sees: normalised inputs and targets, augmented."""
        inputs, targets = self.feed.batch(step)
        batch = self.task.normalise(inputs, self._statistics)
        targets = scaled(self.task, targets, self._statistics)
        if self._augment:
            batch, targets = self.task.augment(batch, targets, self._augment, self.feed.generator(step))
        return channels_last(batch), targets

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes from step to step."""
        state = {f"module.{name}": tensor for name, tensor in self.module.state_dict().items()}
        state |= {f"average.{name}": tensor for name, tensor in self.average.module.state_dict().items()}
        state |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        return state | _checkpoints.optimizer_tensors(self.optimizers)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`."""
        for kind, module in (("module.", self.module), ("average.", self.average.module)):
            module.load_state_dict({k.removeprefix(kind): v for k, v in tensors.items() if k.startswith(kind)})
        self.best = {k.removeprefix("best."): v.to(self.device) for k, v in tensors.items() if k.startswith("best.")}
        _checkpoints.restore_optimizers(self.optimizers, tensors)


def _in_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def fit_by_gradient(job: TrainJob, data: PreparedData, workspace: Workspace, scratch: Path, tell: Tell) -> TrainResult:
    """Run a training from its newest checkpoint, or from the start, to its end."""
    training = Training(job, data, workspace)
    progress = Progress()
    _checkpoints.tidy(scratch)
    found = _checkpoints.read_checkpoint(scratch)
    if found is not None:
        _, tensors, state = found
        training.restore(tensors)
        progress = from_plain(Progress, state)
        training.steps = progress.steps or training.steps
    scorer = Scorer(job, data, training.device, training.dtype)
    stopped = _run(training, scorer, progress, scratch, tell)
    score, kept = _settle(training, job, data, progress, stopped)
    if progress.curve:
        progress.curve[-1] = replace(progress.curve[-1], score=score)
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
        },
    )


def _settle(
    training: Training, job: TrainJob, data: PreparedData, progress: Progress, stopped: str
) -> tuple[float, float]:
    """Decide what is kept: the end, or the state that scored better before it.

    Returns:
        Its score in fp32, as it is exported, and its epoch.
    """
    metric, module = training.task.metrics[0], training.average.module
    if stopped == "DIVERGED":
        _return_to_sound(training)
    scorer = Scorer(job, data, training.device, torch.float32)
    score = _recalibrated_score(training, scorer)
    epoch = progress.best_epoch if stopped == "DIVERGED" else progress.step / training.feed.steps_per_epoch
    if progress.best is None or not metric.better(progress.best, score):
        return score, epoch
    end = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(training.best)
    earlier = _recalibrated_score(training, scorer)
    if metric.better(earlier, score):
        return earlier, progress.best_epoch
    module.load_state_dict(end)
    return score, epoch


def _recalibrated_score(training: Training, scorer: Scorer) -> float:
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
    """Steps, evaluations, checkpoints. Returns why it ended early, or nothing."""
    asked = max(1, round(training.job.recipe.epochs * training.feed.steps_per_epoch))
    looks = max(2, min(_EVALUATIONS, round(training.job.recipe.epochs)))  # short trainings spend little on looking
    started = time.perf_counter() - progress.seconds
    saved = told = time.perf_counter()
    pause, loss_sum = CHECKPOINT_EVERY_S, torch.tensor(progress.losses, dtype=torch.float64, device=training.device)
    while progress.step < training.steps:
        loss_sum += training.take_step(progress.step)
        progress.step += 1
        progress.counted += 1
        now = time.perf_counter()
        progress.seconds = now - started
        if _is_to_look(progress.step, training.steps, looks):
            progress.losses = float(loss_sum)
            stopped = _evaluate(training, scorer, progress)
            loss_sum.zero_()
            if stopped:
                return stopped
        if now - told >= _TELL_EVERY_S or progress.step == training.steps:
            told = now
            if progress.step < training.steps:
                progress.steps = training.steps = planned_steps(progress, training.steps, asked, training.job.seconds)
            tell(_sentence(training, progress), progress.step / training.steps)
            if not math.isfinite(float(loss_sum)):
                return "DIVERGED"
        if now - saved >= pause and progress.step < training.steps:
            before = time.perf_counter()
            progress.losses = float(loss_sum)
            _checkpoints.write_checkpoint(scratch, progress.step, training.tensors(), to_plain(progress))
            saved = time.perf_counter()
            pause = max(CHECKPOINT_EVERY_S, (saved - before) / _CHECKPOINT_SHARE)
    return ""


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
    progress.losses, progress.counted = 0.0, 0
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
        training.best = {name: value.clone() for name, value in training.average.module.state_dict().items()}
    return "FLOOR_UNREACHABLE" if _hopeless(training, progress, score) else ""


def _hopeless(training: Training, progress: Progress, score: Score) -> bool:
    metric, share = training.task.metrics[0], progress.step / training.steps
    if not (metric.bounded and metric.direction == "higher") or share >= 1:
        return False
    return is_hopeless(max(progress.highest, score.high), share, training.job.floor)


def _return_to_sound(training: Training) -> None:
    """After a divergence keep the best weights there were, or those it began with."""
    if training.best:
        training.average.module.load_state_dict(training.best)
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


def probe(job: TrainJob, data: PreparedData, seconds: float, tell: Tell) -> ThroughputResult:
    """Real steps on real batches for about so many seconds, then a part of validation."""
    tell(f"{job.network.id}: trying how fast it trains")
    training = Training(job, data)
    for step in range(_PROBE_WARMUP_STEPS):
        training.take_step(step)
    before = read_cpu_times()
    started, steps = time.perf_counter(), 0
    while steps < 1 or time.perf_counter() - started < seconds:
        float(training.take_step(_PROBE_WARMUP_STEPS + steps))
        steps += 1
    rate = steps * training.feed.batch_size / (time.perf_counter() - started)
    load = foreign_load(before)
    scorer = Scorer(job, data, training.device, training.dtype, limit=2 * training.feed.batch_size)
    return ThroughputResult(rate, scorer.score(training.average.module).samples_per_s, load, load > NOISY_LOAD)
