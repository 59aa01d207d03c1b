"""Decoding of images and other media, within limits."""
