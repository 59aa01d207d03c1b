"""Readers of a run's file: ``words`` says the decision in lines, ``render`` shows it as one HTML page."""
