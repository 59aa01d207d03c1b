"""Requirement and catalogue to candidates."""
