"""Losses as pure functions, and the tasks: what one training step computes at each stage."""
