"""One of two ranks: computes gradients alone, then together, and says how far they are apart (run by test_ranks)."""

import json
import sys
from pathlib import Path

import torch

from sartor import registry
from sartor.codec import from_plain
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.prepared import open_data
from sartor.stages.train import _steps
from sartor.stages.train._ranks import ALONE, joined
from sartor.stages.train._steps import Training

_steps.training_dtype = lambda device: torch.float32  # bf16 rounds more than is compared here
DATA = []


def hard_ones_count_double(outputs, targets, smoothing):
    each = torch.nn.functional.cross_entropy(outputs[0], targets, reduction="none")
    weight = 1 + (each > each.mean()).float()
    return (each * weight).sum() / weight.sum()


def gradient(job, ranks, parts=1):
    training = Training(job, DATA[0])
    forward = training.module.forward
    if registry.get("models", job.network.model).__class__.__dict__.get("loss_spans_batch"):
        # outputs of another shape than the batch's pass through as they are
        training.module.forward = lambda x: (forward(x), torch.zeros(3))
    training.spread(ranks)
    training.gradients.parts = parts
    training.module.train()
    torch.manual_seed(training.feed.layer_seed(0))
    batch, targets = training.batch(0)
    # flat borders of digits tie in max pooling, and rounding decides: 1e-7 of noise moves a gradient by more than half
    batch = batch + 0.3 * torch.randn(batch.shape, generator=torch.Generator().manual_seed(1))
    loss = training.gradients.compute(0, batch, targets)
    found = {name: weight.grad for name, weight in training.module.named_parameters()}
    found |= {name: buffer for name, buffer in training.module.named_buffers() if "running" in name}
    return float(loss), found


def apart(one, other):
    largest = max(float(v.abs().max()) for v in other[1].values())
    worst = max(
        float((one[1][n] - v).abs().max() / v.abs().max().clamp_min(1e-2 * largest)) for n, v in other[1].items()
    )
    return [abs(one[0] - other[0]) / abs(other[0]), worst]


if __name__ == "__main__":
    torch.set_num_threads(1)
    job = from_plain(TrainJob, json.loads(Path(sys.argv[1]).read_text()))
    DATA.append(open_data(job.data, Workspace(Path(sys.argv[2]))))
    family = type(registry.get("models", job.network.model))
    said = {}
    with joined(torch.device("cpu")) as ranks:
        for spans in (False, True):
            if spans:
                family.loss, family.loss_spans_batch = staticmethod(hard_ones_count_double), True
            alone = gradient(job, ranks=ALONE)
            said["spanning" if spans else "mean"] = apart(gradient(job, ranks), alone)
        said["shares"] = [ranks.share(5).start, ranks.share(5).stop]
        said["told"] = ranks.told(ranks.rank, "same")
        in_parts = gradient(job, ranks, parts=2)
        said["finite in parts"] = all(bool(v.isfinite().all()) for v in in_parts[1].values())
    print(json.dumps(said))
