"""Engines that run artifacts."""
