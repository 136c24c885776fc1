"""Leaf helpers: errors, atomic files, the run's environment, logging. Imports nothing of ours."""
