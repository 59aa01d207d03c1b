"""Model families and baselines."""
