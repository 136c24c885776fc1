"""Backbones for experts and students, with one file per network family."""
