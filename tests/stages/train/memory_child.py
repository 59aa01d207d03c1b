"""Runs one training in a process of its own; says what was predicted and what the process took (run by test_memory)."""

import json
import resource
import sys
from pathlib import Path

import torch

from sartor.codec import from_plain
from sartor.evidence import Workspace
from sartor.jobs import TrainJob
from sartor.prepared import open_data
from sartor.stages.train import _loop, _steps, train  # noqa: F401

_steps.training_dtype = lambda device: torch.float32
job = from_plain(TrainJob, json.loads(Path(sys.argv[1]).read_text()))
workspace = Workspace(Path(sys.argv[2]))
data, network = open_data(job.data, workspace), job.network
for split in (data.split("train"), data.split("validation")):  # made once, and no part of training
    split.prepared(network.input_size, network.encoding)
    split.targets(network.input_size, network.encoding)
data.statistics(network.input_size, network.encoding)
torch.ones(2).sum()


def taken():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


before = taken()
result = train(job, workspace)
# of this program alone: ru_maxrss also knows the process that started it
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
peak = int(status["VmHWM"].split()[0]) * 1024
print(json.dumps({"predicted": result.conditions["memory_predicted_mb"], "measured": (peak - before) / 1e6}))
