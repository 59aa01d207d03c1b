"""decision.json as a page people like to look at."""
