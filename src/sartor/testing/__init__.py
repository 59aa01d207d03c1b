"""Conformance suites for every catalogue, importable by others."""
