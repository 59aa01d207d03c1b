"""How much memory a training will take, found on a few samples before it runs. Needs torch; import it lazily."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from sartor.stages.train._steps import Training

TRIED = 4  # samples
LIBRARIES = 95e6
"""Bytes that torch's optimizers, autograd and kernels take when they are first used, 15 MB more or less from run to
run; measured on a CPU."""

HEAP = {"cpu": 1.6, "mps": 1.6, "cuda": 1.1}
"""Bytes taken per byte of live tensors, as memory that is let go lies in pieces of other sizes and operators want some
of their own. Measured on a CPU with glibc and the settings of ``training_environment``; the others are guesses."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of a training on the device that it runs on.

    Args:
        state: network, average, what training changes of it once more (the best one is kept), teacher and the
            optimizers' memory, all the time.
        batch: a whole batch, normalised and augmented, at its peak.
        moments: of a step, those that may be its worst: bytes however few samples are computed at once (gradients of
            weights), and bytes per sample (activations and their gradients).
        looking: at most, while a network is scored.
        saving: while a checkpoint is written; 0 where its copies lie on another device.
        libraries: beside tensors.
        heap: taken per byte of tensors.
        held: what of ``state`` is there already.
        shared: where ranks share the network, what each keeps its share of.
        copies: then, what stays whole on the leading rank all the time.
        visiting: then, what comes to its device while the network is scored.
    """

    state: int
    batch: int
    moments: tuple[tuple[int, int], ...]
    looking: int
    saving: int
    libraries: int
    heap: float
    held: int
    shared: int = 0
    copies: int = 0
    visiting: int = 0

    def cut(self, world: int, gathered: int) -> Footprint:
        """Of the leading one of so many ranks that share the network.

        Args:
            world: how many.
            gathered: bytes of weights that are whole at the same time in a step; gradients are counted whole, to be
                safe.
        """
        return replace(
            self,
            state=self.copies + -(-self.shared // world),
            moments=tuple((least + gathered, each) for least, each in self.moments),
            looking=self.looking + self.visiting,
        )

    def peak(self, samples: int) -> int:
        """Bytes at the worst moment, when so many samples are computed at once."""
        step = max(least + each * samples for least, each in self.moments)
        worst = max(self.batch + step, self.looking, self.saving)
        return int(self.libraries + self.heap * (self.state + worst))

    def most_samples(self, free: int) -> int:
        """How many samples at once fit into so many bytes; 0 where not even one does."""
        if self.peak(1) > free:
            return 0
        left = (free - self.libraries) / self.heap - self.state - self.batch
        return max(1, int(min((left - least) / each for least, each in self.moments if each)))


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that come to be and are let go while it is active.

    Args:
        known: tensors that are there already.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.after: list[int] = []  # bytes after every operator
        self._alive = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator, and count the memory of what it returns."""
        results = func(*args, **(kwargs or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._count(result)
        self.after.append(self.now)
        return results

    def _count(self, result: Tensor) -> None:
        storage = result.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._let_go, key, size)

    def _let_go(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def foresee(training: Training, samples: int = TRIED) -> Footprint:
    """Try a step on so many samples and on half of them, and count its tensors; what grows is carried on in proportion.

    The training is afterwards as it was.
    """
    module, average = training.module, training.average.module
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with LiveBytes(_tensors(module, average)) as live:
        batch, targets = training.batch(0)
    whole = live.peak + training.feed.held_bytes * (1 if training.device.type == "cpu" else 0)
    least = training.gradients.least_samples
    many = min(max(least, samples), len(targets))
    few = max(least, many // 2)
    module.train()
    try:
        tried = {n: _step_bytes(training, batch[:n], targets[:n]) for n in {few, many}}
        looking = _looking_bytes(training, batch[:many])
    finally:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                buffer.copy_(buffers[name])
    moved = sum(_bytes_of([weight]) * times for weight, times in training.optimizer_memory())
    best = _bytes_of(training.average.state().values())
    teacher = training.gradients.soft
    own, kept = _bytes_of(_tensors(module)), _bytes_of(_tensors(average))
    teaching = _bytes_of(_tensors(teacher.module)) if teacher else 0
    held = own + kept + teaching
    state = held + best + moved
    saved = 3 * best + moved  # of the network, its average and the best one, what training changes
    here = training.device.type in ("cpu", "mps")
    return Footprint(
        state=state,
        batch=whole,
        moments=_moments(few, tried[few], many, tried[many]),
        looking=looking,
        saving=2 * saved if here else 0,
        libraries=int(LIBRARIES),
        heap=HEAP[training.device.type],
        held=held,
        shared=own + best + moved + teaching,  # as much of the average as of its best
        copies=kept + best if here else 0,
        visiting=0 if here else kept,
    )


def _moments(few: int, less: list[int], many: int, more: list[int]) -> tuple[tuple[int, int], ...]:
    """Two runs of the same operators as bytes however few samples and bytes per sample; only those that may be worst.

    The worst moment of a large batch need not be that of a small one, where gradients of weights weigh more.
    """
    if many == few or len(less) != len(more):
        return ((0, max(1, max(more) // many)),)
    lines = []
    for one, other in zip(less, more, strict=True):
        each = max(0, (other - one) // (many - few))
        lines.append((max(0, other - each * many), each))
    worst: list[tuple[int, int]] = []
    for least, each in sorted(set(lines), reverse=True):
        if not worst or each > worst[-1][1]:
            worst.append((least, each))
    return tuple(worst)


def _step_bytes(training: Training, batch: Tensor, targets: Tensor) -> list[int]:
    """Bytes after every operator of a forward and a backward pass, gradients of the weights included."""
    batch, targets = batch.clone(), targets.clone()
    with LiveBytes(_tensors(training.module, batch, targets)) as live:
        training.gradients.at_once(batch, targets)
    weights = [weight for weight in training.module.parameters() if weight.requires_grad]
    training.gradients.some_unused = any(weight.grad is None for weight in weights)
    training.module.zero_grad()
    return list(live.after)


def _looking_bytes(training: Training, batch: Tensor) -> int:
    from sartor.stages.train._scoring import casting, scoring_batch

    average = training.average.module
    with (
        torch.no_grad(),
        casting(training.device, training.dtype),
        LiveBytes(_tensors(average, batch)) as live,
    ):
        average(batch)
    size = scoring_batch(training.job.recipe.batch_size)
    own = training.feed.row_bytes // training.feed.batch_size + batch[0].numel() * batch.element_size()
    return int(size * (live.peak // len(batch) + own))


def _tensors(*holders: nn.Module | Tensor) -> list[Tensor]:
    return [
        tensor
        for holder in holders
        for tensor in ([holder] if isinstance(holder, Tensor) else [*holder.parameters(), *holder.buffers()])
    ]


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
