"""Ways to reach a target machine."""
