"""A decision to a directory that runs without the trainer; and its verification."""
