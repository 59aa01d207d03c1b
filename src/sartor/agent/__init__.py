"""The same actions for language models."""
