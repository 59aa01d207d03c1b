"""Finds samples in files: folders, tables, arrays, archives and data sets of the hub. Tasks say what they hold."""
