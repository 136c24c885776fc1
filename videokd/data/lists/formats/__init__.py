"""Readers of dataset formats; start reading at ``read``, then the file of a format."""
