"""The parts of compress_frontier.py: subjects, who compresses them, timing in turn, and the verdict's arithmetic."""
