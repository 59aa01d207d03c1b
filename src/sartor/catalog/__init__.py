"""The catalogues: one file is one plug-in, and nothing else changes."""
