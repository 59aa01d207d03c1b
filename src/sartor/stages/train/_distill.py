"""Soft labels of a trained network, computed batch by batch. Needs torch; import it inside functions only."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from sartor import registry
from sartor.errors import Unsupported
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.prepared import PreparedData
from sartor.stages.train._machine import training_dtype
from sartor.stages.train._scoring import casting
from sartor.stages.train._weights import built


class SoftLabels:
    """The teacher of a job, frozen; it answers the very batch that its pupil sees, augmented alike.

    Nothing of it changes from step to step, so a training that resumes needs no more of it than its weights.

    Source: Hinton et al. 2015, arXiv:1503.02531 (temperature); Beyer et al. 2022, arXiv:2106.05237 (the same view of a
    sample for teacher and pupil).

    Raises:
        Unsupported: ``NO_SOFT_LABELS`` where the answers are no classes or inputs of the two differ;
            ``WEIGHTS_MISMATCH``.
    """

    def __init__(self, job: TrainJob, data: PreparedData, workspace: Workspace, device: torch.device) -> None:
        teacher = job.recipe.teacher
        assert teacher is not None
        family = registry.get("models", teacher.network.model)
        pupil = registry.get("models", job.network.model)
        same = ("input_size", "encoding", "outputs")
        if any(getattr(teacher.network, name) != getattr(job.network, name) for name in same):
            raise Unsupported("NO_SOFT_LABELS", f"{teacher.network.id} takes other inputs than {job.network.id}")
        if registry.get("tasks", job.task).truth != "class" or hasattr(family, "loss") or hasattr(pupil, "loss"):
            raise Unsupported("NO_SOFT_LABELS", "only networks that give logits of classes teach each other")
        module = built(teacher.network, data)
        try:
            module.load_state_dict(load_file(workspace.objects.path(teacher.weights)))
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise Unsupported("WEIGHTS_MISMATCH", f"these are no weights of {teacher.network.id}: {reason}") from error
        module = module.eval().requires_grad_(False)
        self.module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self._dtype = training_dtype(device) if getattr(family, "autocast", True) else torch.float32
        self._temperature, self._share = teacher.temperature, teacher.share

    def mixed(self, loss: Tensor, logits: Tensor, batch: Tensor) -> Tensor:
        """The loss on the labels, in part replaced by the distance to the teacher's answers.

        Args:
            loss: scalar, on the labels.
            logits: (n, classes) of the pupil, fp32.
            batch: (n, …) normalised and augmented, as the pupil saw it.
        """
        with torch.no_grad(), casting(self._device, self._dtype):
            wanted: Tensor = self.module(batch)
        t = self._temperature
        apart = functional.kl_div(
            functional.log_softmax(logits / t, dim=1),
            functional.log_softmax(wanted.float() / t, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        # gradients of softened answers shrink with the square of the temperature
        return (1 - self._share) * loss + self._share * t * t * apart
