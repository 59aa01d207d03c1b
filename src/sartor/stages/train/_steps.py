"""One network with everything that moves it, able to take any numbered step. Needs torch; import it lazily."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sartor import registry
from sartor.blocks import revive_dead_filters
from sartor.catalog.contracts import ModelFamily, Task
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.prepared import PreparedData
from sartor.stages.train import _checkpoints
from sartor.stages.train._adapters import moving_names, state_of
from sartor.stages.train._average import Average
from sartor.stages.train._cutting import Parts, cut, is_cut, move_over, whole
from sartor.stages.train._distill import SoftLabels
from sartor.stages.train._feed import Feed, channels_last, scaled
from sartor.stages.train._gradients import Gradients
from sartor.stages.train._machine import (
    multiply_fast,
    ranks_here,
    settle,
    training_device,
    training_dtype,
    whole_memory,
)
from sartor.stages.train._optimizers import make_optimizers, rate_share, set_rate
from sartor.stages.train._order import window_for
from sartor.stages.train._ranks import Ranks, share_norms
from sartor.stages.train._warm_start import begun


class Training:
    """One network with its data, optimizers and average, able to take any numbered step.

    Args:
        window: as :class:`Feed` takes it; None for what the size of the data asks for on this machine.
    """

    def __init__(
        self, job: TrainJob, data: PreparedData, workspace: Workspace | None = None, window: int | None = None
    ) -> None:
        settle(job.threads // ranks_here())
        multiply_fast()
        self.job, self.data, self.workspace = job, data, workspace
        self.device = training_device()
        self.task: Task = registry.get("tasks", job.task)
        family: ModelFamily = registry.get("models", job.network.model)
        # half precision would round again what is rounded to 8 bits
        exact = job.recipe.weight_bits or not getattr(family, "autocast", True)
        self.dtype = torch.float32 if exact else training_dtype(self.device)
        train, size, encoding = data.split("train"), job.network.input_size, job.network.encoding
        self._statistics = data.statistics(size, encoding)
        auto = self.task.augmentations(data.card)
        self._augment = tuple(x for name in job.recipe.augment for x in (auto if name == "auto" else (name,)))
        torch.manual_seed(job.seed)
        samples, targets = train.prepared(size, encoding), train.targets(size, encoding)
        if window is None:
            window = window_here(job, data)
        self.feed = Feed(samples, targets, job.recipe.batch_size, job.seed, self.device, window)
        module = begun(job, data, workspace)
        self.module: nn.Module = module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if job.recipe.start is None:
            revive_dead_filters(self.module, self.task.normalise(self.feed.batch(0)[0], self._statistics))
        self.average = Average(self.module, job.recipe.ema_decay)
        self.optimizers = make_optimizers(self.module, job.recipe, self.dtype)
        self.steps = max(1, round(job.recipe.epochs * self.feed.steps_per_epoch))
        self.learning_rate = 0.0
        self.is_cut = False  # over the ranks
        soft = SoftLabels(job, data, workspace, self.device) if job.recipe.teacher and workspace else None
        self.gradients = Gradients(self.module, job, self.feed, self.device, self.dtype, soft)
        self.best: dict[str, Tensor] = {}  # state of the average where it scored best so far; empty before

    def take_step(self, step: int) -> Tensor:
        """One step of the optimizers and of the average; the batch's mean loss."""
        recipe = self.job.recipe
        self.module.train()
        torch.manual_seed(self.feed.layer_seed(step))
        batch, targets = self.batch(step)
        self.learning_rate = set_rate(self.optimizers, rate_share(step, self.steps, recipe.warmup_share))
        loss = self.gradients.compute(step, batch, targets)
        scaler = self.gradients.scaler  # does nothing but for fp16
        if recipe.clip:
            for optimizer in self.optimizers:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip)
        for optimizer in self.optimizers:
            scaler.step(optimizer)
            optimizer.zero_grad()
        scaler.update()
        self.average.update(self.module, step)
        return loss

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """What a step sees: normalised inputs and targets, augmented."""
        inputs, targets = self.feed.batch(step)
        batch = self.task.normalise(inputs, self._statistics)
        targets = scaled(self.task, targets, self._statistics)
        if self._augment:
            batch, targets = self.task.augment(batch, targets, self._augment, self.feed.generator(step))
        return channels_last(batch), targets

    def close(self) -> None:
        """End the threads that read ahead."""
        self.feed.close()

    def optimizer_memory(self) -> Iterator[tuple[Tensor, int]]:
        """Every trained weight, and how many tensors of its size its optimizer remembers."""
        for optimizer in self.optimizers:
            times = 2 if isinstance(optimizer, torch.optim.AdamW) else 1
            yield from ((weight, times) for group in optimizer.param_groups for weight in group["params"])

    def spread(self, ranks: Ranks, cut_at: Parts | None = None) -> None:
        """Share every step with other ranks from now on; all have to be in the same state.

        Args:
            ranks: that share it.
            cut_at: the parts that are called, where the network is to be cut, with its average, its teacher and what
                the optimizers remember; None where every rank keeps it whole.
        """
        self.gradients.ranks = ranks
        if ranks.world == 1:
            return
        share_norms(self.module)
        if cut_at is not None:
            self._cut(ranks, cut_at)
            return
        known = inspect.signature(DistributedDataParallel).parameters
        syncs = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # by torch's version
        options: dict[str, Any] = {
            "device_ids": [self.device.index] if self.device.type == "cuda" else None,
            syncs: False,  # norms are shared already, and no other buffer differs
            "find_unused_parameters": self.gradients.some_unused,
        }
        self.gradients.module = DistributedDataParallel(self.module, **options)

    def _cut(self, ranks: Ranks, called: Parts) -> None:
        before = dict(self.module.named_parameters())
        cut(self.module, ranks, self.device, called)
        move_over(self.optimizers, before, self.module)
        if self.gradients.soft is not None:
            cut(self.gradients.soft.module, ranks, self.device, called)
        self.average.cut(self.module, ranks.leads)
        self.is_cut = True
        # none but the leading rank scores
        self.best = {name: value.cpu() for name, value in self.best.items()} if ranks.leads else {}

    def collect(self) -> None:
        """Let the leading rank have the average whole, where it is cut; all ranks have to come here."""
        if self.is_cut:
            self.average.collect(self.device)

    def keep_best(self) -> None:
        """Remember the average as it is; beside the device where its memory is scarce."""
        place = torch.device("cpu") if self.is_cut else self.device
        self.best = {name: value.to(place, copy=True) for name, value in self.average.state().items()}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes from step to step, whole; what is frozen does not.

        Where the network is cut all ranks have to come here, and the leading one gets copies.
        """
        state = self._tensors()
        if not self.is_cut:
            return state
        found = {}
        for name in sorted(state):  # the same on all ranks: a file is not read in the same order by all of them
            tensor = state[name]
            full = whole(tensor)
            if self.gradients.ranks.leads:
                found[name] = full.cpu() if is_cut(tensor) else full.to("cpu", copy=True)
        return found

    def _tensors(self) -> dict[str, Tensor]:
        moving = state_of(self.module, moving_names(self.module))
        state = {f"module.{name}": tensor for name, tensor in moving.items()}
        state |= {f"average.{name}": tensor for name, tensor in self.average.moving().items()}
        state |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        if self.gradients.scaler.is_enabled():
            scale = self.gradients.scaler.state_dict()
            state["scaler"] = torch.tensor([scale["scale"], scale["_growth_tracker"]], dtype=torch.float64)
        return state | _checkpoints.optimizer_tensors(self.optimizers)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`."""
        self.module.load_state_dict({**self.module.state_dict(), **_named(tensors, "module.")})
        self.average.load(_named(tensors, "average."))
        self.best = {name: value.to(self.device) for name, value in _named(tensors, "best.").items()}
        _checkpoints.restore_optimizers(self.optimizers, tensors)
        if "scaler" in tensors:
            scale, grown = tensors["scaler"].tolist()
            scaler = self.gradients.scaler
            scaler.load_state_dict({**scaler.state_dict(), "scale": scale, "_growth_tracker": int(grown)})


def window_here(job: TrainJob, data: PreparedData) -> int:
    """How many rows of train are shuffled among each other on a machine with this memory; 0 for all."""
    train, size, encoding = data.split("train"), job.network.input_size, job.network.encoding
    stored = train.prepared(size, encoding).nbytes + train.targets(size, encoding).nbytes
    return window_for(len(train), stored // max(1, len(train)), whole_memory())


def _named(tensors: dict[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Those of one kind, by their own names."""
    return {name.removeprefix(kind): value for name, value in tensors.items() if name.startswith(kind)}
