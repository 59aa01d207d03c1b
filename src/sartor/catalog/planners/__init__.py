"""Who picks the next action."""
