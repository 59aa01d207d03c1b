"""Cost estimates that rank and prune, never accept."""

from sartor.stages.predict.calibrate import Calibration, calibrate
from sartor.stages.predict.describe import describe
from sartor.stages.predict.estimate import estimate
from sartor.stages.predict.kernels import as_run, kernels_of
from sartor.stages.predict.speeds import Speeds, TimedKernels, learn

__all__ = [
    "Calibration",
    "Speeds",
    "TimedKernels",
    "as_run",
    "calibrate",
    "describe",
    "estimate",
    "kernels_of",
    "learn",
]
