"""Cost estimates that rank and prune, never accept."""
