"""Ways to reach a target machine."""

from sartor.catalog.devices._words import summary

__all__ = ["summary"]
