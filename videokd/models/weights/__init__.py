"""Weights from elsewhere: found, read, renamed and adapted to a network of ours, with a report."""
