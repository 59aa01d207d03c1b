"""Training: one loop for every network, on CPU and GPU, that resumes exactly where a kill left it."""

from sartor.stages.train._launch import write_job
from sartor.stages.train.arrange import arrange
from sartor.stages.train.training import probe_throughput, train

__all__ = ["arrange", "probe_throughput", "train", "write_job"]
