"""Text, YAML, JSON or objects to a Requirement; every problem reported at once."""
