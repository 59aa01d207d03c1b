"""Further examinations of an artifact."""
