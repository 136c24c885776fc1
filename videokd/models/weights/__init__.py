"""Pretrained weights: lookup, reading, renaming, adaptation to a network, and a report."""
