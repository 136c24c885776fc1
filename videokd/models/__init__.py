"""Clips in, features of every level out: one file per architecture family."""
