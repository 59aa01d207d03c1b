"""The gradient of a step's loss, in as many parts as it takes to fit the memory. Needs torch; import it lazily."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from sartor import registry
from sartor.errors import Unsupported
from sartor.jobs import TrainJob
from sartor.stages.train._distill import SoftLabels
from sartor.stages.train._feed import Feed
from sartor.stages.train._ranks import ALONE
from sartor.stages.train._recompute import norms_untouched
from sartor.stages.train._scoring import casting

_NO_MEMORY = re.compile(r"not\senough\smemory|out\sof\smemory|can('t|not)\sallocate\smemory", re.IGNORECASE)


class Smaller(Exception):
    """A rank has no memory for its part of a batch: all start again from the checkpoint, with so many parts."""

    def __init__(self, parts: int) -> None:
        super().__init__(parts)
        self.parts = parts


class Gradients:
    """Adds the gradient of a batch's mean loss to the parameters.

    A batch is computed in shares, one per rank, and where these do not fit in ``parts`` of a share. Their losses are
    weighted by their sizes: the same gradient but for rounding. A loss that is no mean over samples (its
    ``loss_spans_batch``) is taken over the outputs of all; several parts are then computed twice (Gao et al. 2021,
    arXiv:2101.06983). What a network itself computes over a batch is over the same part of all ranks: batch norms see
    the statistics of fewer samples where there are several parts. Dropout draws anew for every part of every rank.
    """

    def __init__(
        self,
        module: nn.Module,
        job: TrainJob,
        feed: Feed,
        device: torch.device,
        dtype: torch.dtype,
        soft: SoftLabels | None,
    ) -> None:
        family, task = registry.get("models", job.network.model), registry.get("tasks", job.task)
        self.module, self.parts, self.ranks = module, 1, ALONE
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        self.notes: list[str] = []  # what happened on the way, to be told
        self.some_unused = True  # whether the loss leaves out parameters, as far as is known
        self._loss = getattr(family, "loss", task.loss)
        self._spans = bool(getattr(family if hasattr(family, "loss") else task, "loss_spans_batch", False))
        self._smoothing, self._network = job.recipe.label_smoothing, job.network.id
        self._feed, self._device, self._dtype, self.soft = feed, device, dtype, soft
        normed = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
        self.least_samples = 2 if normed else 1  # a norm over the batch wants two

    @property
    def share(self) -> int:
        """Samples of a batch that this rank computes; of the rank with most."""
        return -(-self._feed.batch_size // self.ranks.world)

    @property
    def micro_batch(self) -> int:
        """Samples that are computed at once."""
        return -(-self.share // self.parts)

    @property
    def most_parts(self) -> int:
        """Beyond it a part would hold no sample, or a single one where norms want two."""
        return max(1, self._feed.batch_size // self.ranks.world // self.least_samples)

    def compute(self, step: int, batch: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, detached; where the memory does not hold a part, all is done again in smaller ones.

        The statistics of batch norms have then moved once more for what was begun in vain.

        Raises:
            Unsupported: ``OUT_OF_MEMORY`` when not even one sample at a time fits.
            Smaller: the same batch is to be computed in more parts, by all ranks.
        """
        while True:
            try:
                return self._computed(step, batch, targets)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # outside the handler, as the error holds on to all that was computed
            self.drop()
            self._split(len(targets))

    def at_once(self, batch: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of samples, in one part and by this rank alone."""
        loss = self._loss_of(self._outputs(batch), batch, targets)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def drop(self) -> None:
        """Let go of gradients, and of what the device keeps for later."""
        self.module.zero_grad()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def too_large(self) -> Unsupported:
        """The refusal of what does not fit, however little of it is computed at once."""
        return Unsupported(
            "OUT_OF_MEMORY",
            f"the memory that is free does not hold a training of {self._network}, not even one sample at a time",
        )

    def _split(self, size: int) -> None:
        if self.parts >= self.most_parts:
            raise self.too_large()
        parts = min(self.most_parts, 2 * self.parts)
        if self.ranks.world > 1:
            raise Smaller(parts)
        self.parts = parts
        self.notes.append(
            f"{self._network}: out of memory, so each batch of {size} is computed in {self.parts} parts from now on"
        )

    def _computed(self, step: int, batch: Tensor, targets: Tensor) -> Tensor:
        if self.parts == 1 and self.ranks.world == 1:
            return self.at_once(batch, targets)
        if self._spans:
            return self._spanning(step, batch, targets)
        total = torch.zeros((), device=self._device)
        for number, rows in enumerate(self._rows(len(targets))):
            self._reseed(step, number)
            with self._exchanging(number):
                loss = self._loss_of(self._outputs(batch[rows]), batch[rows], targets[rows])
                loss = loss * ((rows.stop - rows.start) / len(targets))
                self.scaler.scale(loss * self.ranks.world).backward()
            total += loss.detach()
        return self.ranks.total(total)

    def _spanning(self, step: int, batch: Tensor, targets: Tensor) -> Tensor:
        """First all outputs, and the gradient at each; then back through the network, part by part again."""
        pieces = list(self._rows(len(targets)))
        if self.parts == 1:
            self._reseed(step, 0)
            outputs = self._outputs(batch[pieces[0]])
            loss, wanted = self._at_outputs(step, [_detached(outputs)], batch, targets)
            torch.autograd.backward(_moving(outputs), wanted[0])
            return loss
        found = []
        with norms_untouched(self.module):
            for number, rows in enumerate(pieces):
                self._reseed(step, number)
                with self._exchanging(0):
                    found.append(_detached(self._outputs(batch[rows])))
        loss, wanted = self._at_outputs(step, found, batch, targets)
        for number, (rows, gradients) in enumerate(zip(pieces, wanted, strict=True)):
            self._reseed(step, number)
            with self._exchanging(number):
                torch.autograd.backward(_moving(self._outputs(batch[rows])), gradients)
        return loss

    def _at_outputs(
        self, step: int, found: list[Any], batch: Tensor, targets: Tensor
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """The loss over the outputs of all parts of all ranks, and its gradient at each of this rank's parts.

        Args:
            step: seeds what the loss draws, for all ranks alike.
            found: per part, outputs that are leaves.
            batch: whole, normalised and augmented.
            targets: of the whole batch.
        """
        leaves, form = tree_flatten(found[0])
        pieces = [_moving(outputs) for outputs in found]
        every = [_length(self.ranks.of(rank).share(len(targets))) for rank in range(self.ranks.world)]
        own = self.ranks.share(len(targets))
        joined = iter([
            self.ranks.gathered(torch.cat([part.detach() for part in parts]), every).requires_grad_()
            for parts in zip(*pieces, strict=True)
        ])  # fmt: skip
        whole = [next(joined) if isinstance(leaf, Tensor) and leaf.requires_grad else leaf for leaf in leaves]
        torch.manual_seed(self._feed.layer_seed(step))
        loss = self._loss_of(tree_unflatten(whole, form), batch, targets)
        asked = self.scaler.scale(loss * self.ranks.world)
        gradients = torch.autograd.grad(asked, _moving(whole), materialize_grads=True)
        sizes = [len(moving[0]) for moving in pieces]
        split = [
            gradient[own].split(sizes)  # type: ignore[no-untyped-call]
            for gradient in gradients
        ]
        return loss.detach(), [[rows[number] for rows in split] for number in range(len(found))]

    def _outputs(self, batch: Tensor) -> Any:
        with casting(self._device, self._dtype):
            outputs = self.module(batch)
        return tree_map(_in_fp32, outputs)

    def _loss_of(self, outputs: Any, batch: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self._loss(outputs, targets, self._smoothing)
        return loss if self.soft is None else self.soft.mixed(loss, outputs, batch)

    def _rows(self, size: int) -> Iterator[slice]:
        """The parts of this rank's share, as even as can be."""
        share = self.ranks.share(size)
        length = _length(share)
        for number in range(self.parts):
            yield slice(share.start + length * number // self.parts, share.start + length * (number + 1) // self.parts)

    def _reseed(self, step: int, number: int) -> None:
        """Let every part draw for itself, and both times the same."""
        torch.manual_seed(self._feed.layer_seed(step, self.ranks.rank * self.parts + number))

    def _exchanging(self, number: int) -> AbstractContextManager[None]:
        """Gradients go to the other ranks with the last part only."""
        last = number == self.parts - 1
        return nullcontext() if last or not isinstance(self.module, DistributedDataParallel) else self.module.no_sync()


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device, or the machine, has no memory left."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def _in_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _moving(outputs: Any) -> list[Tensor]:
    """The outputs that a gradient flows through; these have the batch first."""
    return [leaf for leaf in tree_flatten(outputs)[0] if isinstance(leaf, Tensor) and leaf.requires_grad]


def _detached(outputs: Any) -> Any:
    """Outputs without what led to them; those that a gradient flows through still say so."""
    return tree_map(lambda x: x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x, outputs)


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
