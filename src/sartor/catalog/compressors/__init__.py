"""Ways to make an artifact smaller or faster."""
