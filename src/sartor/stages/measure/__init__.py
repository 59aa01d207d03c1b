"""Time, memory, size and quality of the artifact itself."""
