"""Weights to files a runtime takes, and those to smaller ones."""
