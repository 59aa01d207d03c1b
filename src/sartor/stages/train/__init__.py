"""Networks to trained weights."""
