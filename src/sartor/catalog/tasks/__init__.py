"""What can be asked of a model."""
