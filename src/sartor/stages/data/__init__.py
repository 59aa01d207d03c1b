"""Data to a checked, split, fingerprinted DataCard."""
