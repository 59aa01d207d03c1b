"""Requirement and records to a Decision; a pure function."""
