"""What planners share: forecasts, trainings, files."""
