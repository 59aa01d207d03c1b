"""One of two ranks: computes alone, then together, and says how far that is apart (run by test_ranks)."""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from sartor import registry
from sartor.codec import from_plain
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.prepared import open_data
from sartor.stages.train import _steps
from sartor.stages.train._cutting import cut, move_over, pieces_of, share_like, watched, whole
from sartor.stages.train._optimizers import Muon
from sartor.stages.train._ranks import ALONE, joined
from sartor.stages.train._recompute import recompute_blocks
from sartor.stages.train._steps import Training

PRECISION = [torch.float32]  # bf16 rounds more than is compared here
_steps.training_dtype = lambda device: PRECISION[0]
CPU = torch.device("cpu")
PLACE = []


def hard_ones_count_double(outputs, targets, smoothing):
    each = torch.nn.functional.cross_entropy(outputs[0], targets, reduction="none")
    weight = 1 + (each > each.mean()).float()
    return (each * weight).sum() / weight.sum()


def made(job):
    workspace = PLACE[0]
    return Training(job, open_data(job.data, workspace), workspace)


def called_in(training):
    soft = training.gradients.soft
    networks = [training.module, *([soft.module] if soft else [])]
    inputs = training.batch(0)[0][:2]
    with torch.no_grad(), watched(*networks) as called:
        for network in networks:
            network.eval()(inputs)
    return called


def gradient(job, ranks, parts=1, is_cut=False, recomputed=False):
    training = made(job)
    called = called_in(training) if is_cut else None
    forward = training.module.forward
    if registry.get("models", job.network.model).__class__.__dict__.get("loss_spans_batch"):
        # outputs of another shape than the batch's pass through as they are
        training.module.forward = lambda x: (forward(x), torch.zeros(3))
    if recomputed:
        assert recompute_blocks(training.module) > 0
    training.spread(ranks, cut_at=called)
    training.gradients.parts = parts
    training.module.train()
    torch.manual_seed(training.feed.layer_seed(0))
    batch, targets = training.batch(0)
    # flat borders of digits tie in max pooling, and rounding decides: 1e-7 of noise moves a gradient by more than half
    batch = batch + 0.3 * torch.randn(batch.shape, generator=torch.Generator().manual_seed(1))
    loss = training.gradients.compute(0, batch, targets)
    if is_cut:
        shares = [weight for weight in training.module.parameters() if hasattr(weight, "to_local")]
        assert sum(share.to_local().numel() for share in shares) < 0.6 * sum(share.numel() for share in shares)
    found = {name: whole(weight.grad) for name, weight in training.module.named_parameters()}
    found |= {name: buffer for name, buffer in training.module.named_buffers() if "running" in name}
    return float(loss), found


def apart(one, other):
    largest = max(float(v.abs().max()) for v in other[1].values())
    worst = max(
        float((one[1][n] - v).abs().max() / v.abs().max().clamp_min(1e-2 * largest)) for n, v in other[1].items()
    )
    return [abs(one[0] - other[0]) / abs(other[0]), worst]


class Odd(nn.Module):
    """What networks have beside plain blocks."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.token = nn.Parameter(torch.randn(1, 1, 6))  # a rank has nothing of it
        self.lists = nn.ModuleList(
            [nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)]), nn.ModuleList([nn.Linear(6, 6)])]
        )
        self.tables = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
        self.tied = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
        self.tied[1].weight = self.tied[0].weight
        self.lists[0][0].weight.requires_grad_(False)

    def forward(self, x):
        x = (self.token + x[:, None]).mean(1)
        for layers in self.lists:
            for layer in layers:
                x = layer(layer(x).tanh())  # called twice
        for table in self.tables:
            x = functional.linear(x, table.weight)  # not called
        return self.tied(x)


def odd(ranks):
    """Largest difference that cutting makes to a gradient, the largest gradient, and how many pieces there were."""
    inputs, found = torch.randn(4, 6, generator=torch.Generator().manual_seed(2)), []
    for is_cut in (False, True):
        module = Odd()
        with watched(module) as called:
            module(inputs)
        pieces = len(pieces_of(module, called))
        if is_cut:
            cut(module, ranks, CPU, called)
        module(inputs).square().sum().backward()
        found.append({n: whole(w.grad) for n, w in module.named_parameters() if w.grad is not None})
    assert found[0].keys() == found[1].keys()
    differences = [float((found[1][name] - value).abs().max()) for name, value in found[0].items()]
    return max(differences), max(float(value.abs().max()) for value in found[0].values()), pieces


def muon(ranks):
    """Largest difference that cutting a filter makes to two steps of Muon, the second one of what was moved over."""
    torch.manual_seed(0)
    filters, gradient = torch.randn(7, 8, 3, 3), torch.randn(7, 8, 3, 3)
    moved = []
    for shared in (False, True):
        layer = nn.Sequential(nn.Conv2d(8, 7, 3, bias=False))
        layer[0].weight.data.copy_(filters)
        optimizer = Muon([layer[0].weight], lr=0.1, momentum=0.6, dtype=torch.float32)
        for number in range(2):
            if shared and number:
                before = dict(layer.named_parameters())
                cut(layer, ranks, CPU, set())
                move_over([optimizer], before, layer)
            layer[0].weight.grad = share_like(gradient, layer[0].weight)
            optimizer.step()
        moved.append(whole(layer[0].weight.detach()))
    return float((moved[0] - moved[1]).abs().max()), float((moved[0] - filters).abs().max())


def overflow(ranks):
    """How far a step moves, and what the scale becomes, when the share of one rank alone is too large for fp16."""
    layer = nn.Linear(4, 4, bias=False)
    cut(layer, ranks, CPU, set())
    before, scaler = whole(layer.weight.detach()).clone(), torch.amp.GradScaler("cpu", init_scale=8.0)
    optimizer = torch.optim.AdamW(layer.parameters())
    scaler.scale(torch.ones(()))
    gradient = torch.ones(4, 4)
    gradient[3] = torch.inf
    layer.weight.grad = share_like(gradient, layer.weight)
    scaler.step(optimizer)
    scaler.update()
    return float((whole(layer.weight.detach()) - before).abs().max()), scaler.get_scale()


def stepped(training, steps):
    for step in steps:
        training.take_step(step)
    return training.gradients.ranks.told(training.tensors())[0]


def furthest(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - value).abs().max()) for name, value in other.items())


def resumed(job, ranks):
    """How far steps from a checkpoint of a cut network end from those not interrupted: cut again, whole, never cut."""
    ends = []
    first = made(job)
    first.spread(ranks, cut_at=called_in(first))
    first.average.set_aside()
    kept = stepped(first, range(2))
    wanted = stepped(first, range(2, 4))
    first.collect()
    average = {name: value for name, value in wanted.items() if name.startswith("average.")}
    if ranks.leads:
        assert furthest({f"average.{n}": v for n, v in first.average.state().items()}, average) == 0
    for together in (True, False):
        training = made(job)
        training.restore(dict(reversed(kept.items())) if ranks.rank else kept)  # files are read in any order
        training.spread(ranks if together else ALONE, cut_at=called_in(training) if together else None)
        ends.append(furthest(stepped(training, range(2, 4)), wanted))
    return [*ends, furthest(stepped(made(job), range(4)), wanted)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    PLACE.append(Workspace(Path(sys.argv[1])))
    job, plain, taught = (from_plain(TrainJob, json.loads(Path(path).read_text())) for path in sys.argv[2:])
    said = {}
    with joined(CPU) as ranks:
        alone = gradient(taught, ALONE)
        said["cut taught"] = apart(gradient(taught, ranks, is_cut=True), alone)
        for kind in ("mean", "spanning"):
            if kind == "spanning":
                family = type(registry.get("models", job.network.model))
                family.loss, family.loss_spans_batch = staticmethod(hard_ones_count_double), True
            alone = gradient(job, ALONE)
            said[kind] = apart(gradient(job, ranks), alone)
            said[f"cut {kind}"] = apart(gradient(job, ranks, is_cut=True, recomputed=kind == "mean"), alone)
            in_parts = gradient(job, ranks, parts=2)
            said[f"finite in parts {kind}"] = all(bool(v.isfinite().all()) for v in in_parts[1].values())
            said[f"cut {kind} in parts"] = apart(gradient(job, ranks, parts=2, is_cut=True), in_parts)
        PRECISION[0] = torch.bfloat16
        said["cut bf16"] = apart(gradient(job, ranks, is_cut=True), gradient(job, ranks))
        PRECISION[0] = torch.float32
        del family.loss, family.loss_spans_batch
        said["resumed"] = resumed(job, ranks)
        said["resumed plain"] = resumed(plain, ranks)
        said["odd"], said["muon"], said["overflow"] = odd(ranks), muon(ranks), overflow(ranks)
        said["shares"] = [ranks.share(5).start, ranks.share(5).stop]
        said["told"] = ranks.told(ranks.rank, "same")
    print(json.dumps(said))
