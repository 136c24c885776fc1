"""Helpers for errors, atomic files, environment and logging; they import only each other."""
