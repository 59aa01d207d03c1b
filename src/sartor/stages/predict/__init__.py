"""Cost estimates that rank and prune, never accept."""

from sartor.stages.predict.calibrate import Calibration, calibrate
from sartor.stages.predict.describe import describe
from sartor.stages.predict.estimate import estimate

__all__ = ["Calibration", "calibrate", "describe", "estimate"]
