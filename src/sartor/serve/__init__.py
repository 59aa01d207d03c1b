"""Answers over HTTP from a package."""
