"""The gradient of a step's loss, in as many parts as it takes to fit the memory. Needs torch; import it lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from sartor import registry
from sartor.errors import Unsupported
from sartor.jobs import TrainJob
from sartor.stages.train._distill import SoftLabels
from sartor.stages.train._feed import Feed
from sartor.stages.train._scoring import casting

_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")


class Gradients:
    """Adds the gradient of a batch's mean loss to the parameters.

    A batch that does not fit is computed in ``parts``, whose losses are weighted by their sizes: the same gradient but
    for rounding. A loss that is no mean over samples (its ``loss_spans_batch``) is taken once over the outputs of all
    parts, and every part is computed again for its gradient (Gao et al. 2021, arXiv:2101.06983). What a network itself
    computes over a batch is over a part then: batch norms see the statistics of fewer samples, dropout draws anew.
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
        self.module, self.parts = module, 1
        self.notes: list[str] = []  # what happened on the way, to be told
        self._loss = getattr(family, "loss", task.loss)
        self._spans = bool(getattr(family if hasattr(family, "loss") else task, "loss_spans_batch", False))
        self._smoothing, self._network = job.recipe.label_smoothing, job.network.id
        self._feed, self._device, self._dtype, self._soft = feed, device, dtype, soft

    @property
    def micro_batch(self) -> int:
        """Samples that are computed at once."""
        return -(-self._feed.batch_size // self.parts)

    def compute(self, step: int, batch: Tensor, targets: Tensor) -> Tensor:
        """The mean loss of a batch, detached; where the memory does not hold a part, all is done again in smaller ones.

        The statistics of batch norms have then moved once more for what was begun in vain.

        Raises:
            Unsupported: ``OUT_OF_MEMORY`` when not even one sample at a time fits.
        """
        while True:
            try:
                return self._computed(step, batch, targets)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # outside the handler, as the error holds on to all that was computed
            self.module.zero_grad()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            self._split(len(targets))

    def _split(self, size: int) -> None:
        if self.parts >= size:
            raise Unsupported(
                "OUT_OF_MEMORY",
                f"{self._network} cannot be trained here: the memory does not hold even one sample of it",
            )
        self.parts = min(size, 2 * self.parts)
        self.notes.append(
            f"{self._network}: out of memory, so each batch of {size} is computed in {self.parts} parts from now on"
        )

    def _computed(self, step: int, batch: Tensor, targets: Tensor) -> Tensor:
        if self.parts == 1:
            loss = self._loss_of(self._outputs(batch), batch, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        if self._spans:
            return self._spanning(step, batch, targets)
        total = torch.zeros((), device=self._device)
        for number, rows in enumerate(self._rows(len(targets))):
            self._reseed(step, number)
            share = (rows.stop - rows.start) / len(targets)
            loss = share * self._loss_of(self._outputs(batch[rows]), batch[rows], targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _spanning(self, step: int, batch: Tensor, targets: Tensor) -> Tensor:
        """First all outputs, and the gradient at each; then part by part again, back through the network."""
        pieces = list(self._rows(len(targets)))
        with _norms_untouched(self.module):
            found = [self._detached(step, number, batch[rows]) for number, rows in enumerate(pieces)]
        self._reseed(step, 0)
        loss, wanted = _at_outputs(found, lambda outputs: self._loss_of(outputs, batch, targets))
        for number, (rows, gradients) in enumerate(zip(pieces, wanted, strict=True)):
            self._reseed(step, number)
            torch.autograd.backward(_moving(self._outputs(batch[rows])), gradients)
        return loss

    def _detached(self, step: int, number: int, batch: Tensor) -> Any:
        """Outputs without what led to them; those that a gradient flows through still say so."""
        self._reseed(step, number)
        return tree_map(
            lambda x: x.detach().requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x, self._outputs(batch)
        )

    def _outputs(self, batch: Tensor) -> Any:
        with casting(self._device, self._dtype):
            outputs = self.module(batch)
        return tree_map(_in_fp32, outputs)

    def _loss_of(self, outputs: Any, batch: Tensor, targets: Tensor) -> Tensor:
        loss: Tensor = self._loss(outputs, targets, self._smoothing)
        return loss if self._soft is None else self._soft.mixed(loss, outputs, batch)

    def _rows(self, size: int) -> Iterator[slice]:
        """The parts of so many samples, as even as can be."""
        parts = min(self.parts, size)
        for number in range(parts):
            yield slice(size * number // parts, size * (number + 1) // parts)

    def _reseed(self, step: int, number: int) -> None:
        """Let every part draw for itself, and both times the same."""
        torch.manual_seed(self._feed.layer_seed(step, number))


def is_out_of_memory(error: BaseException) -> bool:
    """True for what torch raises when a device, or the machine, has no memory left."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY)


def _in_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _moving(outputs: Any) -> list[Tensor]:
    """The outputs that a gradient flows through; these have the batch first."""
    return [leaf for leaf in tree_flatten(outputs)[0] if isinstance(leaf, Tensor) and leaf.requires_grad]


def _at_outputs(found: list[Any], loss_of: Callable[[Any], Tensor]) -> tuple[Tensor, list[list[Tensor]]]:
    """The loss over the outputs of all parts, and its gradient at those of each.

    Args:
        found: per part, outputs that are leaves.
        loss_of: joined outputs to their loss.
    """
    leaves, form = tree_flatten(found[0])
    pieces = [_moving(outputs) for outputs in found]
    joined = iter([torch.cat(parts).detach().requires_grad_() for parts in zip(*pieces, strict=True)])
    whole = [next(joined) if isinstance(leaf, Tensor) and leaf.requires_grad else leaf for leaf in leaves]
    loss = loss_of(tree_unflatten(whole, form))
    gradients = torch.autograd.grad(loss, _moving(whole), materialize_grads=True)
    sizes = [len(moving[0]) for moving in pieces]
    split = [gradient.split(sizes) for gradient in gradients]
    return loss.detach(), [[rows[number] for rows in split] for number in range(len(found))]


@contextmanager
def _norms_untouched(module: nn.Module) -> Iterator[None]:
    """Batch norms normalise by the batch as in training, but do not remember it."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    kept = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm, tracks in zip(norms, kept, strict=True):
            norm.track_running_stats = tracks
